"""The engine: started by the supervisor to do one thing, and then it ends.

It takes up a request, resumes what a crash has interrupted, and watches a release after its
commit. It is the only writer of the lock.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from surefoot.errors import DamagedError, ExitCode, RefusedError, StageError, SurefootError
from surefoot.health.judge import Standing
from surefoot.update import aim, machine, recovery, requests
from surefoot.update.answering import answer
from surefoot.update.causes import Cause
from surefoot.update.local import LocalHost
from surefoot.update.lock import new_id, only_engine
from surefoot.update.permission import Permission
from surefoot.update.requests import Request
from surefoot.update.states import State

if TYPE_CHECKING:
    from surefoot.config import Config
    from surefoot.control import Processes
    from surefoot.home import Home
    from surefoot.update.lock import Update

SOON = timedelta(minutes=15)
"""A release that crashes again and again within this time of its commit goes back."""

EXIT_CODES = {
    State.COMMITTED: ExitCode.OK,
    State.ABANDONED: ExitCode.ABANDONED,
    State.ROLLED_BACK: ExitCode.ROLLED_BACK,
    State.BROKEN: ExitCode.BROKEN,
}


@dataclass
class Engine:
    """Works in one home, for the supervisor at the other end of `processes`."""

    home: Home
    config: Config
    processes: Processes
    host: LocalHost = field(init=False)

    def __post_init__(self) -> None:
        self.host = LocalHost(self.home, self.config, self.processes)

    def update(self, *, auto: bool = False) -> ExitCode:
        """Takes up the request that waits; without one, looks for the newest release."""
        with only_engine(self.home):
            code = self._update(auto=auto)
        return self._attend(code)

    def _update(self, *, auto: bool) -> ExitCode:
        requests.keep_damaged_aside(self.home)
        request = self._unanswered()
        recovered = recovery.find_current(self.host)
        if request is None:
            if (recovered and not auto) or (auto and not self._permission.may_begin()):
                return ExitCode.OK
            request = self._by_itself(auto=auto)
        return self._take_up(request)

    @property
    def _permission(self) -> Permission:
        return Permission(self.home, self.config.update)

    def _unanswered(self) -> Request | None:
        """The request that waits. A power cut can bring one back that has long been answered."""
        request = requests.waiting(self.home)
        if request is not None and self.host.history.has_ended(request.id):
            requests.withdraw(self.home, request)
            return None
        return request

    def _by_itself(self, *, auto: bool) -> Request:
        """What is to be done where nobody has asked: at the first start, and by the timer."""
        if auto or self.host.store.current_id() is not None:
            return Request(origin="schedule")
        last = next(iter(self.host.ledger().newest_first()), None)
        return Request(origin="install", ref=last)  # data belongs to the release that served last

    def resume(self) -> ExitCode:
        """Carries on, or puts back, what was interrupted."""
        with only_engine(self.home):
            code = self._resume()
        return self._attend(code)

    def _resume(self) -> ExitCode:
        self.host.sync()
        try:
            update = self.host.lock.read()
        except DamagedError as error:
            update = recovery.find_update(self.host, error)
        if update is None:
            return ExitCode.OK
        if update.state is State.BROKEN:
            self._tell_broken(update)  # it may have become so without a step
            return ExitCode.BROKEN
        self.host.tell(update, "resumed", f"Resumed in state `{update.state}`.")
        self._withdraw(update)
        if update.state is State.REQUESTED and update.from_ is not None:
            self.processes.run()  # the old release serves while the new one is staged
        return self._carry(update)

    def _withdraw(self, update: Update) -> None:
        """What this update was asked for by, if a crash has left it: it is not asked for again."""
        request = requests.waiting(self.home)
        if request is not None and request.id == update.id:
            requests.withdraw(self.home, request)

    def crashed(self) -> ExitCode:
        """Called when the app crashes again and again: goes back if its commit was recent."""
        with only_engine(self.home):
            code = self._crashed()
        return self._attend(code)

    def _crashed(self) -> ExitCode:
        commits = self.host.ledger().commits
        current = self.host.store.current_id()
        recent = [c for c in commits if datetime.now(UTC) - c.at < SOON]
        text = f"Release {current} crashes again and again."
        with contextlib.suppress(OSError):  # going back does not hang on being told
            self.host.history.append(new_id(), "crashing", text, release=current)
        if not recent or recent[-1].release != current or self.host.lock.read() is not None:
            return ExitCode.OK
        return self._go_back(text, Cause.CRASHES)

    def _attend(self, code: ExitCode) -> ExitCode:
        """Where a person is needed, nothing may be started: whoever comes is told so, until that
        person has asked for something and it was done. Meanwhile others may take the right to
        change things."""
        while self.host.serving.gate.sockets and self._is_broken():
            self.host.serving.keep_closed(until=lambda: requests.waiting(self.home) is not None)
            with contextlib.suppress(RefusedError), only_engine(self.home):
                request = self._unanswered()
                if request is not None:
                    code = self._take_up(request)
        return code

    def _is_broken(self) -> bool:
        try:
            update = self.host.lock.read()
        except DamagedError:
            return False
        return update is not None and update.state is State.BROKEN

    def _take_up(self, request: Request) -> ExitCode:
        try:
            update = self._begin(request)
        except (SurefootError, OSError) as error:
            return answer(self.home, self.host.history, request, error)
        self.host.tell(
            update,
            "requested",
            f"{update.kind.capitalize()}: {update.from_ or 'nothing'} to {update.to}.",
            **_asked(update),
        )
        requests.withdraw(self.home, request)
        return self._carry(update)

    def _begin(self, request: Request) -> Update:
        """Finds out what is asked for and writes the lock: from here on it is not forgotten."""
        in_flight = self._in_flight()
        if in_flight is not None:
            if in_flight.state is State.BROKEN and request.kind in {"rollback", "restore"}:
                return machine.retry_rollback(aim.again(in_flight, request, self.host), self.host)
            raise RefusedError(
                f"Another update is in flight (state `{in_flight.state}`).",
                next_step="See it with `surefoot status`."
                if in_flight.state is not State.BROKEN
                else "A person is needed: read `surefoot status`, mend the cause, and try again "
                "with `surefoot rollback`.",
            )
        update = msgspec.structs.replace(
            aim.of(request, self.host),
            from_=self.host.store.current_id(),
            token=secrets.token_urlsafe(24),
        )
        self._record(update)
        return update

    def _record(self, update: Update) -> None:
        try:
            self.host.save(update)
        except OSError as error:
            try:
                self.host.lock.forget()  # it may have got its name before the disk failed
            except OSError:
                raise SystemExit(ExitCode.FAILED) from error  # there may be a lock: it is resumed
            raise StageError(
                f"The update could not be recorded: {error.strerror or error}. "
                "The app was not touched.",
                next_step="Make room on the disk, or see what is wrong with it, and try again.",
            ) from error

    def _in_flight(self) -> Update | None:
        try:
            return self.host.lock.read()
        except DamagedError as error:
            raise RefusedError(error.message, next_step="Restart `surefoot run`.") from None

    def _carry(self, update: Update) -> ExitCode:
        update = machine.carry(update, self.host)
        if update.state is State.BROKEN:
            self._tell_broken(update)
        if update.state is State.COMMITTED and update.kind == "update":
            return self._watch(update)
        return EXIT_CODES[update.state]

    def _tell_broken(self, update: Update) -> None:
        self.host.history.append_once(
            update.id,
            "broken",
            f"Broken, a person is needed: {update.reason} What is known is kept; the app is "
            "not started, to protect its data. Mend the cause, then `surefoot rollback`; "
            "where the snapshot is lost, `surefoot restore BACKUP`.",
            reason=update.reason,
            cause=update.cause or Cause.INTERRUPTED,
            output=update.output,
            **_asked(update),
        )

    def _watch(self, update: Update) -> ExitCode:
        """Past the commit: a release that fails now goes back where the data can stay."""
        verdict = self.host.watch(lambda: requests.waiting(self.home) is not None)
        if verdict.standing is Standing.UNHEALTHY:
            return self._go_back(verdict.reason, Cause.UNHEALTHY)
        request = requests.waiting(self.home)
        return self._take_up(request) if request else EXIT_CODES[update.state]

    def _go_back(self, reason: str, cause: Cause) -> ExitCode:
        previous = self.host.ledger().previous()
        identity = new_id()
        if previous is None:
            self.host.history.append(
                identity, "held", f"{reason} There is no release to go back to.", lasting=True
            )
            return ExitCode.FAILED
        request = Request(id=identity, kind="rollback", origin="watch", ref=previous)
        try:
            update = msgspec.structs.replace(self._begin(request), reason=reason, cause=cause)
        except SurefootError as error:
            return answer(self.home, self.host.history, request, error)
        self.host.save(update)
        text = f"Going back to release {previous}: {reason}"
        self.host.tell(update, "requested", text, **_asked(update))
        return self._carry(update)


def _asked(update: Update) -> dict[str, str | None]:
    """What the history says of an update when it begins."""
    asked = {"from": update.from_, "to": update.to, "ref": update.ref}
    by = {"by": update.by} if update.by else {}
    return {**asked, "kind": update.kind, "origin": update.origin, **by}
