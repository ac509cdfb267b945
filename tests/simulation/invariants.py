"""What must hold when all is quiet again. What must hold at every instant is in `Scenario.use`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.copying import BACKUP
from tests.simulation.disk import ABSENT
from tests.simulation.host import decoded
from tests.simulation.scenarios import is_whole
from tests.simulation.world import CURRENT, DB, HISTORY, LEDGER, LOCK, NEW, Data, Violation

from surefoot.update.states import State

if TYPE_CHECKING:
    from tests.simulation.scenarios import Scenario
    from tests.simulation.world import World

ENDINGS = frozenset({"committed", "abandoned", "rolled_back"})


def check(world: World, scenario: Scenario) -> None:
    """Raises Violation."""
    files = world.disk.files
    _check_history(world)
    content = files[LOCK]
    if content is not ABSENT:
        update = decoded(content)
        if update is None or update.state is not State.BROKEN:
            raise Violation("ends", "The lock is there and nobody works on it.")
        if not update.reason:
            raise Violation("says why", "Broken, and no reason is given.")
        if scenario.copy_stays_good:  # a rollback has more attempts than a history has faults
            raise Violation("whole", f"Broken, where nothing is beyond repair: {update.reason}")
        return
    _check_outcome(world, scenario)
    if files[CURRENT] is ABSENT:
        _check_nothing_installed(world, scenario)
        return
    if world.beside is not None:
        raise Violation("serves", f"A second copy, of release {world.beside}, is left.")
    if not world.serves():
        raise Violation("serves", "The app does not run, or its gate is closed.")
    if not is_whole(world, files[CURRENT]):
        raise Violation("whole", f"Release {files[CURRENT]} is in use and is not whole.")
    if files[CURRENT] == NEW and scenario.old_is_healthy and not scenario.new_is_healthy:
        raise Violation("healthy", "The unhealthy release stays, and the old one was healthy.")
    if world.app != files[CURRENT]:
        raise Violation("whole", f"Release {world.app} runs, `current` is {files[CURRENT]}.")
    if scenario.kind == "update" and files[LEDGER].commits[-1:] != _commits(world, scenario):
        raise Violation("history", f"The ledger does not know that {files[CURRENT]} is in use.")


def _check_nothing_installed(world: World, scenario: Scenario) -> None:
    if scenario.installed:
        raise Violation("whole", "There is no release in use any more.")
    if isinstance(world.database(), Data):
        raise Violation("data", "A database is left of an installation that was put back.")
    if not world.disk.files[HISTORY]:
        raise Violation("says why", "Nothing is installed, and the history does not say why.")


def _check_outcome(world: World, scenario: Scenario) -> None:
    """What the lock has said must be known elsewhere before the lock is gone."""
    files = world.disk.files
    if world.ended is None:
        return
    if world.ended not in files[HISTORY]:
        raise Violation("history", f"The history does not tell of {world.ended}.")
    _, event, release = world.ended
    ledger = files[LEDGER]
    denied = release in ledger.denied or not scenario.installed  # without one, it is tried again
    if event == "rolled_back" and release == NEW and not denied:
        raise Violation("denied", f"Release {release} was rolled back and is not denied.")
    if event == "abandoned" and not ledger.abandoned and release not in ledger.denied:
        raise Violation("denied", f"Release {release} was abandoned, and nobody counts it.")
    if update_is_restore(scenario, event) and not is_the_backup(world):
        raise Violation("data", "The backup was restored, and is not what is in use.")
    if event == "committed" and ledger.commits[-1:] != (release,):
        raise Violation("history", f"Release {release} was committed, the ledger does not know.")


def _check_history(world: World) -> None:
    updates = [update for update, event, _ in world.disk.files[HISTORY] if event in ENDINGS]
    if len(updates) != len(set(updates)):
        raise Violation("history", f"An update has ended twice: {world.disk.files[HISTORY]}.")


def check_request(world: World) -> None:
    """Raises Violation where a request that has been dealt with is still waiting."""
    for update, event, to in world.disk.files[HISTORY]:
        if update == "u1":
            raise Violation("denied", f"The request for release {to}, {event}, is taken up again.")


def check_may_try(world: World) -> None:
    """Raises Violation where the schedule would try the new release and must not."""
    for _, event, to in world.disk.files[HISTORY]:
        if event == "committed" and to == NEW:
            raise Violation("denied", f"Release {NEW} was left and would be tried again.")


def _commits(world: World, scenario: Scenario) -> tuple[str, ...]:
    return (
        (world.disk.files[CURRENT],)
        if scenario.installed
        else world.disk.files[LEDGER].commits[-1:]
    )


def update_is_restore(scenario: Scenario, event: str) -> bool:
    return event == "committed" and scenario.kind == "restore"


def is_the_backup(world: World) -> bool:
    main = world.disk.files[DB]
    return isinstance(main, Data) and main.file == BACKUP
