"""What the simulation promises to notice, it notices: one call, edge or order is taken away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.simulation import world as simulated
from tests.simulation.engine import Simulation
from tests.simulation.explore import Exploration, Found
from tests.simulation.host import encoded
from tests.simulation.replay import replay, told
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.world import CURRENT, HISTORY, LOCK, REQUEST

from surefoot.app import lockfile
from surefoot.update import machine
from surefoot.update.states import RULES, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.update.lock import Update

LINES_LIMIT = 90
"""A counterexample that is longer is no help."""


def caught(
    scenario: str,
    rule: str,
    *,
    faults: int,
    simulation: type[Simulation] = Simulation,
    left_out: frozenset[str] = frozenset(),
) -> Found:
    """The violation that the exploration finds, with exactly so many faults, and tells briefly."""
    result = Exploration(
        SCENARIOS[scenario], faults, simulation=simulation, left_out=left_out
    ).run()
    assert result.found, "not noticed"
    found = result.found[0]
    assert (found.rule, len(found.history)) == (rule, faults), found
    lines, violation = replay(found.replay, simulation=simulation, left_out=left_out)
    assert violation is not None
    assert violation.text == found.text
    assert len(list(told(lines))) < LINES_LIMIT
    return found


# -- one call that is not made

MISSING_CALLS = [
    ("fsync .UPDATE_LOCK.json.new", "migration", "reads", 1),
    ("fsync folder data", "migration", "whole", 1),
    ("fsync in_flight/.main.db.part", "migration", "whole", 1),  # the snapshot
    ("fsync folder in_flight", "migration", "whole", 1),
    ("fsync in_flight/.update.json.new", "migration", "whole", 2),
    ("fsync app.db", "migration", "whole", 1),  # what the migration has written
    ("fsync releases/2/app", "migration", "whole", 1),
    ("fsync folder releases", "migration", "whole", 1),
    ("fsync releases/2/.release.json.new", "migration", "whole", 1),
    ("fsync folder releases/2", "migration", "whole", 1),
    ("fsync environments/e", "migration", "whole", 1),
    ("fsync environments/e/.environment.json.new", "migration", "whole", 1),
    ("fsync folder environments", "migration", "whole", 1),
    ("fsync folder environments/e", "migration", "whole", 1),
    ("fsync folder home", "migration", "whole", 1),  # `current`
    ("fsync .ledger.json.new", "migration", "reads", 1),
    ("fsync update_history.jsonl", "first-install", "history", 1),
    ("checkpoint the log of app.db", "migration", "data", 0),
    ("end what a killed migration has left", "migration", "whole", 2),
    ("unlink app.db", "first-install", "data", 1),
    ("unlink current", "first-install", "data", 1),
    ("unlink in_flight/update.json", "failing-migration", "whole", 1),
    ("unlink UPDATE_LOCK.json", "migration", "ends", 0),
    ("fsync in_flight/main.work/app.db-wal", "pinned", "whole", 1),  # the migration
    ("unlink app.db-wal", "pinned-unhealthy", "whole", 0),
    ("fsync app.db-wal", "pinned-in-place", "whole", 1),
    ("fsync in_flight/.main.clone.new", "cloned", "whole", 1),
]


@pytest.mark.parametrize(
    ("call", "scenario", "rule", "faults"), MISSING_CALLS, ids=[m[0] for m in MISSING_CALLS]
)
def test_a_call_that_is_not_made_is_noticed(
    call: str, scenario: str, rule: str, faults: int
) -> None:
    caught(scenario, rule, faults=faults, left_out=frozenset({call}))


# -- one order that is another


class ForgetsFirst(Simulation):
    """Removes the lock before the ledger says that the release is denied."""

    def conclude(self, update: Update) -> None:
        self.forget(update)
        super().conclude(update)


class RunsBeforeGivingUp(Simulation):
    """Lets the old release serve while the snapshot could still be put back."""

    def resume_old(self, update: Update) -> Update:
        self._tell_supervisor("run")
        return super().resume_old(update)


class PutsBackTwice(RunsBeforeGivingUp):
    """Restores what has been restored: over what was written since."""

    def restore(self, record: dict[str, Any]) -> None:
        self.clear_for_another(keep=True)
        self._put(self._checked_copy(record))


class CopiesWhileItServes(Simulation):
    """Takes the snapshot, and stops the app after it."""

    def stop(self, update: Update) -> Update:
        self._begins(update)
        record = self.take()
        self._stop()
        return msgspec.structs.replace(update, snapshots=[record], pending=["main"])

    def snapshot(self, update: Update) -> Update:
        self._begins(update)
        return update


class LeavesCurrent(Simulation):
    """Never puts `current` back."""

    def _switch(self, release: str | None) -> None:
        if release != self.scenario.start:
            super()._switch(release)


class RestoresOverTheLog(Simulation):
    """Puts the copy into place beside the log of the file before."""

    def clear_for_another(self, *, keep: bool = False) -> None:
        del keep


class KeepsDamagedLockAside(Simulation):
    """Moves it away before what it stood for is known again."""

    def keep_aside(self) -> None:
        self.at("rename the lock aside")
        self.disk.unlink(LOCK)
        self.sync_folder("data")


class BelievesCurrent(Simulation):
    """With a damaged lock, takes the release in use for the one that was found healthy."""

    def _state_of(self, update: Update) -> State:
        is_new = update.to != update.from_ and self.files[CURRENT] == update.to
        return State.COMMITTED if is_new else State.ROLLING_BACK


class TrustsWhatItSees(Simulation):
    """Does not flush what a crash may have left in the cache alone."""

    def confirm(self, *folders: str) -> None:
        del folders


class AsksTwice(Simulation):
    """Takes up a request that has been answered."""

    def waiting(self) -> str | None:
        return self.files[REQUEST]  # type: ignore[no-any-return]


class ForgetsTheDenial(ForgetsFirst):
    """The same, with the history written before."""

    def conclude(self, update: Update) -> None:
        self.append_once(update, update.state)
        super().conclude(update)


class AnswersAnyway(Simulation):
    """Tells that nothing was done, though the lock is there, or comes back with a power cut."""

    def _recorded(self, update: Update) -> bool:
        try:
            return super()._recorded(update)
        except OSError:
            return False


class TellsTwice(Simulation):
    """Appends the outcome each time it concludes."""

    def append_once(self, update: Update, event: str) -> None:
        line = (update.id, str(event), update.to)
        self.write(HISTORY, (*self.files[HISTORY], line), torn=False)
        self.sync(HISTORY)


class NeverDenies(Simulation):
    """Leaves the release off the denylist."""

    def settle_ledger(self, update: Update) -> None:
        if update.state is not State.ROLLED_BACK:
            super().settle_ledger(update)


class LeavesWhatRunsBeside(Simulation):
    """Starts what is current, and does not look for a second copy."""

    def start_app(self, goal: str) -> None:
        beside = self.world.beside
        super().start_app(goal)
        self.world.beside = beside

    def _stop(self) -> None:
        beside = self.world.beside
        super()._stop()
        self.world.beside = beside


class TakesOverBeforeItIsCurrent(Simulation):
    """Adopts what runs beside, and lets `current` be what it was."""

    def _switch(self, release: str | None) -> None:
        if self.world.beside is None:
            super()._switch(release)


class ForgetsWhoTookOver(Simulation):
    """Says of an update without a snapshot that it has not come as far as the app."""

    def _taken_over(self) -> Update | None:
        return None


class OverlapsAMigration(Simulation):
    """Lets the new release live beside the old one although it needs another schema."""

    def stage(self, update: Update) -> Update:
        return msgspec.structs.replace(super().stage(update), overlaps=True)

    def _works(self, release: str | None) -> bool:
        return release is not None


class LosesTheGuard(Simulation):
    """Starts the app after a power cut and lets it bring the migration's log in."""

    def keep(self, record: dict[str, Any]) -> None:
        del record


class LeavesNoGuard(Simulation):
    """Lets go of the main file with the engine."""

    def _leave_guard(self) -> None:
        pass


class LeavesItClosed(Simulation):
    """Does not open the database again that it has closed only to take the snapshot."""

    def undo_clone(self) -> None:
        pass


class TurnsRound(Simulation):
    """Does not leave a word that everything is being put back."""

    def replace(self, slot: int, temporary: int, content: Any) -> None:
        if slot != simulated.BACKWARDS:
            super().replace(slot, temporary, content)


class PutsTheBackupAgain(Simulation):
    """Over what users have written since."""

    def conclude(self, update: Update) -> None:
        super().conclude(update)
        self.put_backup()


class BreaksSilently(Simulation):
    """Gives no reason."""

    def save(self, update: Update) -> None:
        if update.state is State.BROKEN:
            update = msgspec.structs.replace(update, reason="")
        super().save(update)


OTHER_ORDERS: list[tuple[type[Simulation], str, str, int]] = [
    (ForgetsFirst, "unhealthy", "history", 1),
    (ForgetsTheDenial, "unhealthy", "denied", 1),
    (RunsBeforeGivingUp, "unhealthy", "data", 2),
    (PutsBackTwice, "unhealthy", "data", 1),
    (CopiesWhileItServes, "unhealthy", "data", 0),
    (LeavesCurrent, "unhealthy", "whole", 0),
    (RestoresOverTheLog, "unhealthy", "data", 0),
    (BelievesCurrent, "unhealthy", "healthy", 1),
    (KeepsDamagedLockAside, "migration", "whole", 2),
    (TrustsWhatItSees, "migration", "whole", 2),
    (AsksTwice, "unhealthy", "denied", 1),
    (AnswersAnyway, "rollback", "history", 2),
    (TellsTwice, "migration", "history", 1),
    (NeverDenies, "unhealthy", "denied", 0),
    (LeavesWhatRunsBeside, "overlap", "serves", 1),
    (TakesOverBeforeItIsCurrent, "overlap", "whole", 0),
    (ForgetsWhoTookOver, "overlap", "history", 1),
    (OverlapsAMigration, "migration", "whole", 0),
    (LosesTheGuard, "pinned-unhealthy", "whole", 1),
    (LeavesNoGuard, "pinned-unhealthy", "whole", 0),
    (LeavesItClosed, "cloned", "serves", 1),
    (TurnsRound, "migration", "whole", 2),
    (PutsTheBackupAgain, "restore", "data", 0),
    (BreaksSilently, "lost-snapshot", "says why", 0),
]


@pytest.mark.parametrize(
    ("simulation", "scenario", "rule", "faults"),
    OTHER_ORDERS,
    ids=[o[0].__name__ for o in OTHER_ORDERS],
)
def test_another_order_is_noticed(
    simulation: type[Simulation], scenario: str, rule: str, faults: int
) -> None:
    caught(scenario, rule, faults=faults, simulation=simulation)


# -- one rule of the table that is another

OTHER_RULES: list[tuple[State, dict[str, Any], str, str, int]] = [
    (State.SNAPSHOTTED, {"failed": State.RESTORED}, "failing-migration", "whole", 0),
    (State.PROBATION, {"failed": State.ACCEPTED}, "unhealthy", "healthy", 0),
    (State.PROBATION, {"failed": State.RESTORED}, "unhealthy", "healthy", 0),
    (State.ROLLING_BACK, {"failed": State.RESTORED}, "lost-snapshot", "whole", 0),
    (State.SNAPSHOTTED, {"failed": State.ABANDONED}, "failing-migration", "whole", 0),
    (State.REQUESTED, {"attempts": 99}, "rollback-over-a-migration", "budget", 3),
    (State.ROLLING_BACK, {"attempts": 99}, "lost-snapshot", "budget", 0),
]


@pytest.mark.parametrize(
    ("state", "changes", "scenario", "rule", "faults"),
    OTHER_RULES,
    ids=[f"{state}-{changes}" for state, changes, *_ in OTHER_RULES],
)
def test_another_rule_in_the_table_is_noticed(
    state: State,
    changes: dict[str, Any],
    scenario: str,
    rule: str,
    faults: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(RULES, state, replace(RULES[state], **changes))

    caught(scenario, rule, faults=faults)


def test_a_machine_that_goes_round_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_spent", lambda *_: False)
    monkeypatch.setattr(Simulation, "_begins", lambda *_: None)
    monkeypatch.setattr(Simulation, "save", _without_attempts)

    caught("lost-snapshot", "ends", faults=0)


def _without_attempts(self: Simulation, update: Update) -> None:
    update.attempts.clear()
    self.replace(LOCK, simulated.LOCK_NEW, encoded(update))


# -- the gate


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    simulated.gate_is_closed.cache_clear()
    yield monkeypatch
    simulated.gate_is_closed.cache_clear()


def test_a_gate_that_is_open_in_probation_loses_rows(gate: pytest.MonkeyPatch) -> None:
    gate.setattr(simulated, "CLOSED_STATES", simulated.CLOSED_STATES - {"probation"})

    caught("unhealthy", "data", faults=0)


def test_a_gate_that_opens_before_the_verdict_is_on_the_disk_loses_rows(
    gate: pytest.MonkeyPatch,
) -> None:
    gate.setattr(simulated, "CLOSED_STATES", simulated.CLOSED_STATES - {"accepted"})

    caught("migration", "data", faults=2)


def test_the_apps_gate_is_the_one_that_is_simulated() -> None:
    assert lockfile.CLOSED_STATES == simulated.CLOSED_STATES


def test_the_page_of_the_promise_says_how_many_rules_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guide" / "promise.md").read_text("utf-8")
    number = len(MISSING_CALLS) + len(OTHER_ORDERS) + len(OTHER_RULES)
    others = 3  # a machine that goes round, and two gates

    assert f"{number + others} of them are switched off" in " ".join(page.split())
