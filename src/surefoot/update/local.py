"""The real host: carries out the steps of an update on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from surefoot import durable
from surefoot.control import Exited, Processes
from surefoot.databases import backups, migrations, snapshot, sqlite
from surefoot.errors import SurefootError
from surefoot.health.judge import Standing
from surefoot.releases import processes
from surefoot.releases.prune import prune
from surefoot.releases.store import Store
from surefoot.update.history import History
from surefoot.update.judging import Judging
from surefoot.update.lock import Lock, Update
from surefoot.update.staging import Staging
from surefoot.update.states import State

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.config import Database as DatabaseConfig
    from surefoot.home import Home

PIPE_TIMEOUT_S = 30.0
"""How long the supervisor may take to answer, over the app's own grace."""


class UnhealthyError(SurefootError):
    """A release did not pass its probation."""


@dataclass
class LocalHost:
    """Implements `host.Host` with the adapters."""

    home: Home
    config: Config
    processes: Processes
    store: Store = field(init=False)
    history: History = field(init=False)
    lock: Lock = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.home)
        self.history = History(self.home)
        self.lock = Lock(self.home)

    def save(self, update: Update) -> None:
        self.lock.save(update)

    def pause(self, attempt: int) -> None:
        time.sleep(min(2.0**attempt, 10.0))

    # -- towards the new release

    def stage(self, update: Update) -> Update:
        self.tell(update, "staging", f"Staging release {update.to}; the app goes on serving.")
        staging = Staging(
            self.home, self.config, self.store, lambda event, text: self.tell(update, event, text)
        )
        staging.stage(update)
        self.tell(update, "staged", f"Release {update.to} is ready.")
        return update

    def stop(self, update: Update) -> Update:
        if update.origin == "app" and update.attempts.get(State.STAGED) == 1:
            self._let_the_app_end_itself()
        self._stop()
        self.tell(update, "stopped", "The app has ended; the gate is closed.")
        return update

    def snapshot(self, update: Update) -> Update:
        self._stop()
        folder = self.snapshot_folder(update)
        durable.remove_tree(folder)
        durable.make_folder(folder, mode=0o700)
        records = [
            snapshot.encode(snapshot.take(name, database.path(self.home.root), folder / name))
            for name, database in self.config.database.items()
        ]
        pending = [name for name in self.config.database if self._is_pending(update, name)]
        update = msgspec.structs.replace(update, snapshots=records, pending=pending)
        # What a start finds if the lock itself is damaged.
        durable.write(folder / "update.json", msgspec.json.encode(update), mode=0o600)
        self.tell(update, "snapshotted", f"Snapshot of {_count(len(records), 'database')}.")
        return update

    def migrate(self, update: Update) -> Update:
        self._stop()
        for taken in self._snapshots(update):
            snapshot.prepare(taken)
        for taken in self._snapshots(update):
            if taken.name not in update.pending:
                continue
            if update.kind == "restore":
                self._put_backup(update, taken)
            else:
                self._run_migration(update, taken)
        for taken in self._snapshots(update):
            snapshot.adopt(taken)
        done = f"Migrated {', '.join(update.pending)}." if update.pending else "Nothing to migrate."
        self.tell(update, "migrated", done)
        return update

    def switch(self, update: Update) -> Update:
        self._stop()
        self.store.switch(update.to)
        self.tell(update, "switched", f"`current` is release {update.to}.")
        return update

    def start(self, update: Update) -> Update:
        self.processes.attempt(PIPE_TIMEOUT_S)
        self.tell(update, "started", "The new release runs, behind the gate.")
        return update

    def judge(self, update: Update) -> Update:
        if self.store.current_id() != update.to:
            raise UnhealthyError(f"`current` is not release {update.to}.")
        self.processes.attempt(PIPE_TIMEOUT_S)
        verdict = self._judging(update.to).judge(token=update.token, migrated=bool(update.pending))
        if verdict.standing is not Standing.HEALTHY:
            raise UnhealthyError(verdict.reason)
        self.tell(update, "healthy", verdict.reason)
        return update

    # -- and back

    def put_back(self, update: Update) -> Update:
        self.tell(update, "rolling_back", f"Rolling back: {update.reason}")
        self._stop()
        for taken in self._snapshots(update):
            if taken.name in update.pending or snapshot.has_changed(taken):
                replaced = self.home.backups / f"replaced-{update.id}-{taken.name}.db"
                snapshot.restore(taken, keep_replaced=replaced)
                self.tell(update, "restored", f"Database {taken.name} is as it was.")
            else:
                # No migration ran: what was written since belongs to users and stays.
                snapshot.release(taken)
        self.store.switch(update.from_)
        return update

    def resume_old(self, update: Update) -> Update:
        # From here on nothing restores: the app may be written to again.
        durable.remove_tree(self.snapshot_folder(update))
        if update.from_ is None or self.store.get(update.from_) is None:
            return msgspec.structs.replace(update, healthy=False)
        self.processes.run(PIPE_TIMEOUT_S)
        verdict = self._judging(update.from_).judge(token=update.token, migrated=False)
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
        """Every line can be repeated; the lock goes last."""
        if self.store.current_id() is not None:
            self.processes.run(PIPE_TIMEOUT_S)
        with self.store.ledger_for_change() as ledger:
            if update.state is State.COMMITTED and update.to:
                ledger.record_commit(update.to, self._schemas())
                if update.kind == "rollback" and update.from_:
                    ledger.deny(update.from_, update.reason or "It was rolled back by hand.")
            elif update.state is State.ROLLED_BACK and update.to and update.to != update.from_:
                ledger.deny(update.to, update.reason)
            elif update.state is State.ABANDONED and update.to:
                ledger.count_abandoned(update.to, update.reason)
        for taken in self._snapshots(update):
            if update.state is State.COMMITTED:
                snapshot.release(taken)
        durable.remove_tree(self.snapshot_folder(update))
        self.history.append_once(update.id, update.state, _told(update), **_facts(update))
        self.lock.forget()
        self._prune(update)

    def _prune(self, update: Update) -> None:
        ledger = self.store.ledger()
        gone = prune(self.store, ledger, self.config.keep.releases, in_use=set())
        gone += backups.prune(self.home.backups, self.config.keep.backups, protected=set())
        if gone:
            self.tell(update, "pruned", f"Pruned {_count(len(gone), 'old thing')}.", gone=gone)

    def reconstructed(self, why: str) -> Update | None:
        """What an update whose lock is damaged must have been, from what lies on disk.

        Without a snapshot the database was not touched and `current` is whole. With one, and
        `current` still the old release, the migration may be half way: everything goes back.
        With one and `current` the new release, the migration is complete: it stays.
        """
        for folder in sorted(self.home.backups.glob("in_flight/*")):
            try:
                update = msgspec.json.decode((folder / "update.json").read_bytes(), type=Update)
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                continue  # the snapshot was not complete: nothing had been begun
            forward = update.to != update.from_ and self.store.current_id() == update.to
            return msgspec.structs.replace(
                update,
                state=State.COMMITTED if forward else State.ROLLING_BACK,
                attempts={},
                reason="" if forward else why,
            )
        return None

    # -- parts of the steps

    def tell(self, update: Update, event: str, text: str, **facts: Any) -> None:
        self.history.append(update.id, event, text, **facts)

    def snapshot_folder(self, update: Update) -> Path:
        return self.home.backups / "in_flight" / update.id

    def _stop(self) -> None:
        self.processes.stop(self.config.app.stop_grace_s + PIPE_TIMEOUT_S)

    def _let_the_app_end_itself(self) -> None:
        """The app has asked for the update: it ends when it learns that all is ready."""
        self.processes.hold()
        deadline = time.monotonic() + self.config.app.stop_grace_s
        while time.monotonic() < deadline:
            events = self.processes.wait(0.5)
            if any(isinstance(event, Exited) for event in events):
                return

    def _snapshots(self, update: Update) -> list[snapshot.Snapshot]:
        return [snapshot.decode(record) for record in update.snapshots]

    def _migration(self, update: Update, name: str) -> migrations.Migration | None:
        code = self.store.folder(update.to or "") / "app" / self.config.app.directory
        return migrations.detect(code, self.config.database[name])

    def _is_pending(self, update: Update, name: str) -> bool:
        if update.kind == "restore":
            return backups.get(self.home.backups, update.backup or "").database == name
        found = self._migration(update, name)
        path = self.config.database[name].path(self.home.root)
        return found is not None and migrations.pending(found, path) is not False

    def _run_migration(self, update: Update, taken: snapshot.Snapshot) -> None:
        found = self._migration(update, taken.name)
        database: DatabaseConfig = self.config.database[taken.name]
        if found is None:
            return
        self.tell(update, "migrating", f"Migrating database {taken.name}.")
        folder = self.store.folder(update.to or "")
        variables = processes.command_environment(folder, self.home, self.config)
        if database.variable:
            variables[database.variable] = snapshot.migration_url(taken)
        migrations.run(
            found,
            environment=variables,
            cwd=folder / "app" / self.config.app.directory,
            timeout_s=database.timeout_s,
            pass_fds=snapshot.guards(taken),
        )

    def _put_backup(self, update: Update, taken: snapshot.Snapshot) -> None:
        found = backups.get(self.home.backups, update.backup or "")
        target = self.config.database[taken.name].path(self.home.root)
        backups.restore(found, target, self.home.backups / f"replaced-{update.id}.db")

    def _judging(self, release: str | None) -> Judging:
        folder = self.store.folder(release or "")
        return Judging(
            self.config,
            self.processes,
            processes.command_environment(folder, self.home, self.config),
            self.home.run / "notify" if self.config.health.notify else None,
        )

    def judging(self) -> Judging:
        """For the watch: of what is current."""
        return self._judging(self.store.current_id())

    def _schemas(self) -> dict[str, str]:
        return {
            name: sqlite.schema_of(database.path(self.home.root))
            for name, database in self.config.database.items()
        }


def _facts(update: Update) -> dict[str, Any]:
    return {
        "kind": update.kind,
        "origin": update.origin,
        "from": update.from_,
        "to": update.to,
        "ref": update.ref,
        "reason": update.reason,
        "output": update.output,
        "healthy": update.healthy,
        "durations": update.durations,
    }


def _told(update: Update) -> str:
    match update.state:
        case State.COMMITTED if update.kind == "restore":
            return f"Restored backup {update.backup}."
        case State.COMMITTED:
            return f"Committed: release {update.to} serves."
        case State.ABANDONED:
            return f"Abandoned, the app was not touched: {update.reason}"
        case _ if update.from_ is None:
            return f"Rolled back; there is no release before this one: {update.reason}"
        case _:
            return f"Rolled back, release {update.from_} serves: {update.reason}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
