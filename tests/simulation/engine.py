"""Who calls the machine: the supervisor and the engine, as tasks that follow one another.

Mirrors `supervisor.sh`, `surefoot.update.engine` and `surefoot.update.recovery`. A task is what is
to be done next; whatever lies between two tasks is in the world, so the exploration can go on from
there as often as it likes. The machine's own loop is one task for each of its transitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from tests.simulation import invariants
from tests.simulation.disk import ABSENT, TORN
from tests.simulation.host import EPOCH, SimulatedHost, decoded, encoded
from tests.simulation.world import (
    BACKWARDS,
    CURRENT,
    HISTORY,
    LOCK,
    NEW,
    OLD,
    RECORD,
    REQUEST,
    Violation,
)  # fmt: skip

from surefoot.errors import ExitCode, SurefootError
from surefoot.update import machine
from surefoot.update.lock import Update
from surefoot.update.states import ENDED, State

if TYPE_CHECKING:
    from tests.simulation.world import World

    from surefoot.update.lock import Kind

KILLED = 137
MAX_ABANDONED = 3


class Task(NamedTuple):
    """What is to be done next."""

    do: str
    update: Update | None = None
    code: int = 0


BOOT = Task("boot")
DONE = Task("done")
ENGINE_KILLED = Task("ended", code=KILLED)


class Simulation(SimulatedHost):
    """Carries out one task after the other."""

    def perform(self, task: Task) -> Task:
        """Does the task and returns the next one. Raises Violation."""
        if task.do in _SUPERVISOR:
            return getattr(self, f"do_{task.do}")(task)  # type: ignore[no-any-return]
        try:
            return getattr(self, f"do_{task.do}")(task)  # type: ignore[no-any-return]
        except (SurefootError, OSError):
            return self._ended(ExitCode.FAILED)

    # -- the supervisor

    def do_boot(self, _: Task) -> Task:
        self.at("the supervisor starts")
        return self._proceed()

    def _proceed(self) -> Task:
        if self.files[LOCK] is not ABSENT:
            return Task("resume")
        if self.files[CURRENT] is ABSENT:
            return Task("update")
        if self.world.goal != "run":
            self.start_app("run")
        return Task("settled")

    def do_ended(self, task: Task) -> Task:
        """The engine has ended."""
        self.at(f"the engine has ended with {task.code}")
        lock = self.files[LOCK]
        if lock is ABSENT and self.files[CURRENT] is not ABSENT:
            return self._proceed()
        if task.code == ExitCode.BROKEN:
            return Task("settled")
        if lock is ABSENT and task.code in _ANSWERED:
            return Task("settled")  # the first installation is tried again, later
        untouched = self.files[CURRENT] is not ABSENT and _says_untouched(lock)
        if untouched and self.world.goal != "run":
            self.start_app("run")
        return self._proceed()

    def do_settled(self, task: Task) -> Task:
        """No more faults: is everything as it was promised?"""
        self.at("all is quiet")
        invariants.check(self.world, self.scenario)
        del task
        if self.files[LOCK] is ABSENT and self.files[CURRENT] is not ABSENT:
            return Task("check")
        return DONE

    # -- the engine

    def do_check(self, _: Task) -> Task:
        """The timer: a request that waits is taken up, else the newest release is."""
        self.at("the timer asks for the newest release")
        if self.waiting() is not None:
            invariants.check_request(self.world)
            return DONE
        ledger = self.ledger()
        denied = NEW in ledger.denied or ledger.abandoned >= MAX_ABANDONED
        if self.files[CURRENT] != NEW and not denied:
            invariants.check_may_try(self.world)
        return DONE

    def do_update(self, _: Task) -> Task:
        self.at("the engine starts")
        update = Update(
            id=self.waiting() or f"i{len(self.files[HISTORY])}",
            kind=cast("Kind", self.scenario.kind),
            backup="backup" if self.scenario.kind == "restore" else None,
            origin=self.scenario.origin,
            from_=self.files[CURRENT],
            to=self._target(),
            requested_at=EPOCH,
            since=EPOCH,
        )
        if (update.to == update.from_ and update.kind != "restore") or (
            self.waiting() is None and update.to in self.ledger().denied
        ):
            return self._ended(ExitCode.REFUSED)
        return self._begin(update)

    def waiting(self) -> str | None:
        """The request that waits; one that has been answered does not."""
        request: str | None = self.files[REQUEST]
        answered = any(update == request for update, _, _ in self.files[HISTORY])
        return None if answered else request

    def _begin(self, update: Update) -> Task:
        self.world.begun = ()
        if not self._recorded(update):
            self.append_once(update, State.ABANDONED)
            self.unlink(REQUEST)
            return self._ended(ExitCode.ABANDONED)
        self.unlink(REQUEST)
        return Task("begin", update)

    def _recorded(self, update: Update) -> bool:
        """Whether the lock could be written. If not it is gone, for good: else, who is told that
        nothing was done may see it done. Where that is not to be had, nobody is told."""
        try:
            self.save(update)
        except OSError:
            self.remove(LOCK)
            return False
        return True

    def _target(self) -> str:
        return NEW if self.scenario.kind == "update" else OLD

    def do_resume(self, _: Task) -> Task:
        self.at("the engine starts to resume")
        # what is seen may not be on the disk yet
        self.confirm("home", "data", "releases", "in_flight")
        content = self.files[LOCK]
        update = decoded(content) if content is not ABSENT else None
        if update is None and content is not ABSENT:
            update = self._without_lock()
        if update is None:
            return self._ended(ExitCode.OK)
        if update.state is State.BROKEN:
            return self._ended(ExitCode.BROKEN)
        if self.files[REQUEST] == update.id:
            self.unlink(REQUEST)
        if update.state is State.REQUESTED and update.from_ is not None:
            self._tell_supervisor("run")
        return Task("conclude" if update.state in ENDED else "begin", update)

    def _without_lock(self) -> Update | None:
        """A lock that cannot be read is kept aside; the disk tells what was going on."""
        if self.files[LOCK] == TORN:
            raise Violation("reads", "A power cut has left a lock that cannot be read.")
        self.confirm("home", "data", "releases", "in_flight")
        update = decoded(self.files[RECORD]) if self.files[RECORD] is not ABSENT else None
        if update is None:
            self.undo_clone()
            update = self._taken_over()
        self.append("lock_damaged", None)
        if update is None:
            if self.call("rename the lock aside"):
                self.disk.unlink(LOCK)
            self.sync_folder("data")
            return None
        self.keep_aside()
        if update.state is not State.COMMITTED:
            update = self._carried_on(update)
        self.world.begun = ()  # a new budget: of the old one nothing is known
        self.save(update)
        return update

    def _taken_over(self) -> Update | None:
        """What the history tells of the update that was begun."""
        if any(update == "u1" for update, _, _ in self.files[HISTORY]):
            return None
        is_new = self.files[CURRENT] == NEW and self.scenario.start == OLD
        if not is_new or self.scenario.kind != "update":
            return None
        from_ = OLD if self.scenario.installed else None
        return Update(
            id="u1" if from_ else f"i{len(self.files[HISTORY])}",
            state=State.COMMITTED,
            from_=from_,
            to=NEW,
            overlaps=True,
            requested_at=EPOCH,
            since=EPOCH,
        )

    def _carried_on(self, update: Update) -> Update:
        state = self._state_of(update)
        reason = "The lock cannot be read." if state is State.ROLLING_BACK else ""
        return msgspec.structs.replace(update, state=state, attempts={}, reason=reason)

    def keep_aside(self) -> None:
        """It stays in place as well: who starts at this instant must not find none."""
        self.at("link the lock aside")

    def _state_of(self, update: Update) -> State:
        """What was found healthy is described so before anybody is let in; what is current and was
        not being put back is migrated, and judged once more."""
        if update.state is State.ACCEPTED:
            return State.COMMITTED
        is_new = update.to != update.from_ and self.files[CURRENT] == update.to
        forward = is_new and self.files[BACKWARDS] is ABSENT
        return State.PROBATION if forward else State.ROLLING_BACK

    def do_begin(self, task: Task) -> Task:
        assert task.update is not None
        return _after(machine.begin(task.update, self))

    def do_advance(self, task: Task) -> Task:
        assert task.update is not None
        return _after(machine.advance(task.update, self))

    def do_conclude(self, task: Task) -> Task:
        assert task.update is not None
        self.conclude(task.update)
        if task.update.state is State.COMMITTED and task.update.kind == "update":
            return Task("watch", task.update)
        return self._ended(EXIT_CODES[task.update.state])

    def do_broken(self, task: Task) -> Task:
        assert task.update is not None
        self.append_once(task.update, "broken")
        return self._ended(ExitCode.BROKEN)

    def do_watch(self, task: Task) -> Task:
        """After the commit: a release that fails now goes back, where the schema allows it."""
        assert task.update is not None
        if not self.at("watch the release after its commit", ("crashes",)):
            return self._ended(ExitCode.OK)
        previous = [r for r in self.ledger().commits if r != NEW]
        if not previous:
            return self._ended(ExitCode.FAILED)
        update = Update(
            id="u2",
            kind="rollback",
            origin="watch",
            from_=NEW,
            to=previous[-1],
            reason="It crashes.",
            requested_at=EPOCH,
            since=EPOCH,
        )
        return self._begin(update)

    def _ended(self, code: int) -> Task:
        self.world.engine_dies()
        return Task("ended", code=code)


def _after(update: Update) -> Task:
    if update.state in ENDED:
        return Task("conclude", update)
    return Task("broken" if update.state is State.BROKEN else "advance", update)


def _says_untouched(lock: Any) -> bool:
    """`grep` in the lock, as the supervisor does it."""
    return isinstance(lock, bytes) and any(
        b'"state":"%s"' % s in lock for s in (b"requested", b"staged", b"proven")
    )


def key(world: World, task: Task) -> tuple[Any, ...]:
    """The same for two situations that go on the same."""
    update = None if task.update is None else encoded(task.update)
    return (world.key(), task.do, task.code, update)


EXIT_CODES = {
    State.COMMITTED: ExitCode.OK,
    State.ABANDONED: ExitCode.ABANDONED,
    State.ROLLED_BACK: ExitCode.ROLLED_BACK,
    State.BROKEN: ExitCode.BROKEN,
}
_ANSWERED = frozenset({ExitCode.ABANDONED, ExitCode.ROLLED_BACK, ExitCode.REFUSED})
_SUPERVISOR = frozenset({"boot", "ended", "settled"})
ENGINE_TASKS = frozenset(
    {"check", "update", "resume", "begin", "advance", "conclude", "broken", "watch"}
)
