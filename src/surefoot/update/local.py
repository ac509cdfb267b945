"""The real host: carries out the steps of an update on this machine."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import msgspec

from surefoot import durable
from surefoot.errors import SurefootError, UnhealthyError
from surefoot.health.judge import Standing
from surefoot.releases import processes
from surefoot.releases.store import Store
from surefoot.update import databases, outcome, overlap, private_place, remembered
from surefoot.update.conclusion import Conclusion
from surefoot.update.databases import Databases
from surefoot.update.history import History
from surefoot.update.judging import Judging
from surefoot.update.lock import Lock
from surefoot.update.permission import Permission
from surefoot.update.recovery import BACKWARDS
from surefoot.update.serving import PIPE_TIMEOUT_S, Serving
from surefoot.update.staging import Staging
from surefoot.update.states import State, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.config import Config
    from surefoot.control import Processes
    from surefoot.health.judge import Verdict
    from surefoot.home import Home
    from surefoot.releases.ledger import Ledger
    from surefoot.update.lock import Update

_SHOWING = (
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    | os.O_NOFOLLOW | os.O_NONBLOCK
)  # fmt: skip


@dataclass
class LocalHost:
    """Implements `host.Host` with the adapters."""

    home: Home
    config: Config
    processes: Processes
    store: Store = field(init=False)
    history: History = field(init=False)
    lock: Lock = field(init=False)
    databases: Databases = field(init=False)
    serving: Serving = field(init=False)
    _started: Judging | None = field(init=False, default=None)
    """Has been listening since before the release in probation was started."""

    def __post_init__(self) -> None:
        self.store = Store(self.home)
        self.history = History(self.home, echo=None if self.config.logs.format else sys.stderr)
        self.lock = Lock(self.home)
        self.databases = Databases(self.home, self.config, self.store, self.tell)
        self.serving = Serving(self.home, self.config, self.processes)

    def save(self, update: Update) -> None:
        self.lock.save(update)

    def pause(self, attempt: int) -> None:
        time.sleep(min(2.0**attempt, 10.0))

    # -- towards the new release

    def stage(self, update: Update) -> Update:
        self.tell(update, "staging", f"Staging release {update.to}; the app goes on serving.")
        update = self._staging(update).stage(update)
        if update.origin == "schedule":
            Permission(self.home, self.config.update).wait()
        if self.config.app.overlap:
            update = self._with_overlap(update)
        if update.origin == "app":  # it ends itself as soon as it hears the next line
            self.processes.wait(0)
            self.processes.hold()
        self.tell(update, "staged", f"Release {update.to} is ready.")
        return update

    def _with_overlap(self, update: Update) -> Update:
        release = self.store.folder(update.to or "")
        pending = self.databases.pending(update)
        why = overlap.why_not(update, self.config, self.home, release, pending)
        if why and update.from_ is not None:
            text = f"The old release is stopped first: {why}."
            self.tell(update, "overlap_skipped", text, reason=why)
        return msgspec.structs.replace(update, overlaps=not why)

    def overlap(self, update: Update) -> Update:
        self.processes.wait(0)
        text = f"Release {update.to} runs beside the old one, which serves."
        self.tell(update, "overlapping", text)
        self.processes.beside(update.to or "", PIPE_TIMEOUT_S)
        with self._judging_beside(update) as judging:
            verdict = judging.judge(migrated=False)
        if verdict.standing is not Standing.HEALTHY:
            self.processes.drop()
            raise UnhealthyError(verdict.reason)
        self.tell(update, "proven", verdict.reason)
        return update

    def take_over(self, update: Update) -> Update:
        self.store.switch(update.to)
        private_place.hand_over(self.home, self.serving.gate.sockets)
        self.processes.adopt(PIPE_TIMEOUT_S)
        self.tell(update, "took_over", "The new release takes the connections; the old one ends.")
        return update

    def stop(self, update: Update) -> Update:
        closed_at = datetime.now(UTC)
        if update.origin == "app" and update.attempts.get(State.STAGED) == 1:
            self.serving.let_end_itself()
        self.serving.stop()
        self.serving.has_seen_all = True
        self.tell(update, "stopped", "The app has ended; the gate is closed.")
        return msgspec.structs.replace(update, closed_at=closed_at, waiting_since=closed_at)

    def snapshot(self, update: Update) -> Update:
        self.serving.stop()
        update = self.databases.take(update)
        ways = databases.ways(update)
        told = "".join(f" {name}: {way}." for name, way in ways.items())
        self.tell(
            update,
            "snapshotted",
            f"Snapshot of {outcome.counted(len(update.snapshots), 'database')}.{told}",
            snapshots=ways,
        )
        return update

    def migrate(self, update: Update) -> Update:
        self.serving.stop()
        update = self.databases.migrate(update)
        done = f"Migrated {', '.join(update.pending)}." if update.pending else "Nothing to migrate."
        self.tell(update, "migrated", done)
        return update

    def switch(self, update: Update) -> Update:
        self.serving.stop()
        self.store.switch(update.to)
        self.tell(update, "switched", f"`current` is release {update.to}.")
        return update

    def start(self, update: Update) -> Update:
        self.databases.keep(update)
        self.processes.wait(0)  # what has ended until now was stopped by us
        release = self.store.folder(update.to or "")
        in_private = not private_place.why_not(self.config, self.home, release)
        if in_private:
            judging = self._judging_in_private(update)
        else:  # from its first answer on, the app's middleware keeps the public out
            self.serving.gate.step_aside()
            judging = self._judging(update.to, update.token)
        self._started = judging.__enter__()
        self.serving.attempt(in_private=in_private)
        self.tell(update, "started", "The new release runs, behind the gate.")
        return update

    def judge(self, update: Update) -> Update:
        if self.store.current_id() != update.to:
            raise UnhealthyError(f"`current` is not release {update.to}.")
        if self._started is None:  # resumed after a crash: what it said then was said to nobody
            self.serving.stop()
            update = self.start(update)
        with cast("Judging", self._started) as judging:
            self._started = None
            verdict = judging.judge(
                migrated=self.databases.has_migrated_data(update), rehearsed=update.rehearsed
            )
        if verdict.standing is not Standing.HEALTHY:
            raise UnhealthyError(verdict.reason)
        self.tell(update, "healthy", verdict.reason)
        update = self.serving.with_turned_away(update)
        begun_s = update.durations.get(Step.START, 0.0)
        durations = {**update.durations, Step.START: begun_s + judging.until_first_answer_s}
        return msgspec.structs.replace(update, durations=durations)

    def open(self, update: Update) -> Update:
        self.databases.describe(update)  # whoever goes by it puts nothing back any more
        return msgspec.structs.replace(update, opened_at=datetime.now(UTC))

    # -- and back

    def put_back(self, update: Update) -> Update:
        self.tell(update, "rolling_back", f"Rolling back: {update.reason}")
        if (folder := self.databases.folder(update)).is_dir():
            durable.write(folder / BACKWARDS, b"")
        self.serving.stop()
        self.databases.put_back(update)
        self._bring_back(update)
        self.store.switch(update.from_)
        return update

    def _bring_back(self, update: Update) -> None:
        """Makes the old release once more if it has vanished, so that this is no dead end."""
        old = update.from_
        if old is not None and not self.store.code(old).is_dir():
            if self.store.current_id() == old:
                self.store.switch(None)
            self._staging(update).make_again(old)

    def resume_old(self, update: Update) -> Update:
        # From here on nothing restores: the app may be written to again.
        self.databases.give_up(update)
        if update.from_ is None or self.store.get(update.from_) is None:
            return msgspec.structs.replace(update, healthy=False)
        self.serving.gate.step_aside()
        self.processes.wait(0)
        with self._judging(update.from_, update.token) as judging:
            started_at = datetime.now(UTC)
            self.serving.run()
            verdict = judging.judge(migrated=False)
        update = self.serving.with_turned_away(update)
        if update.closed_at is not None:
            answered_at = started_at + timedelta(seconds=judging.until_first_answer_s)
            update = msgspec.structs.replace(update, opened_at=answered_at)
        if verdict.standing is Standing.HEALTHY:
            return update
        return msgspec.structs.replace(
            update,
            healthy=False,
            reason=f"{update.reason} The release before is not healthy either "
            f"({verdict.reason}), so the new one may not be at fault.",
        )

    # -- the end

    def conclude(self, update: Update) -> None:
        """Every line can be repeated; the lock goes last. The app serves all the while."""
        self.serving.open()
        if update.state is State.COMMITTED:
            self._let_the_public_in(update)
        update = self.serving.with_turned_away(update)
        if update.state is not State.COMMITTED:  # then it is done before anybody is let in
            self.databases.give_up(update)
        if self.store.current_id() is not None:
            self.serving.run()
        Conclusion(
            self.home, self.config, self.store, self.databases, self.history, self.lock
        ).conclude(update)

    def ledger(self) -> Ledger:
        return remembered.ledger(self.home)

    def sync(self) -> None:
        """What is seen on the disk now is there after a power cut as well: whoever decides by it
        must not see it change again."""
        in_flight = self.home.backups / "in_flight"
        for folder in (self.home.root, self.home.data, self.home.releases, in_flight):
            if folder.is_dir():
                durable.sync_folder(folder)

    # -- parts of the steps

    def tell(self, update: Update, event: str, text: str, **facts: Any) -> None:
        self.history.append(update.id, event, text, **facts)

    def _show(self, line: str) -> None:
        """What a slow command is at, for whoever watches; it is not kept."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.home.progress, _SHOWING, 0o644)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
                file.write(f"{line}\n")

    def _staging(self, update: Update) -> Staging:
        return Staging(
            self.home,
            self.config,
            self.store,
            self.databases,
            self.ledger(),
            functools.partial(self.tell, update),
            self._show,
        )

    def _let_the_public_in(self, update: Update) -> None:
        """Hands the sockets to what was judged in private; a crash may have come before that. What
        does not take them is started again, in public."""
        if update.overlaps or not private_place.is_taken(self.home):
            return
        try:
            private_place.hand_over(self.home, self.serving.gate.sockets)
        except SurefootError as error:
            self.tell(update, "not_taken", f"{error} It is started again.")
            self.serving.stop()
            self.serving.open()

    def watch(self, stop: Callable[[], bool]) -> Verdict:
        """Watches what is current after its commit."""
        with self._judging(self.store.current_id(), "", notified=True) as judging:
            return judging.watch(self.config.health.watch_s, stop)

    def _judging_beside(self, update: Update) -> Judging:
        judging = self._judging_in_private(update, notified=True)
        return replace(judging, processes=overlap.Beside(self.processes))

    def _judging_in_private(self, update: Update, *, notified: bool = False) -> Judging:
        judging = self._judging(update.to, update.token, notified=notified)
        place = private_place.place(self.home)
        return replace(judging, over=place, on_answer=self.serving.note_answer)

    def _judging(self, release: str | None, token: str, *, notified: bool = False) -> Judging:
        folder = self.store.folder(release or "")
        notify = self.config.health.notify and not notified
        return Judging(
            self.config,
            self.processes,
            processes.command_environment(folder, self.home, self.config),
            folder / "app" / self.config.app.directory,
            self.home.run / "notify" if notify else None,
            token,
            on_answer=self.serving.open,
        )
