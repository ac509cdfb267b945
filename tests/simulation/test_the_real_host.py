"""The simulation proves something of the real code only where the two do the same: the system calls
of real engines are recorded, and compared with those that are simulated.

Each durable call that the simulation makes must be made, in this order. What is done beyond that
may flush more, but change nothing else than what is listed here.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from tests.crash import cases, scenarios
from tests.crash.place import Place, why_not
from tests.simulation import observed
from tests.simulation.replay import replayed
from tests.simulation.scenarios import SCENARIOS, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

CALLS = (
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "fsync"),
    *("fdatasync", "symlink", "symlinkat"),
)
BEYOND = {
    "unlink app.db-wal",  # SQLite, when the last one closes the database
    "rename in_flight away",  # the folder, when it is empty
    "rename releases/2 away",  # a release that was rolled back is pruned
}


def shared(name: str) -> Scenario:
    """The releases that are updated to have, but for one, the environment of the first."""
    return replace(SCENARIOS[name], shares_environment=True)


# A migration that was not seen to go where it is told is sent there by a mount, where allowed.
ALONE = "pinned" if os.geteuid() == 0 else "pinned-in-place"
PAIRS = [
    pytest.param("update: code, environment, migration", SCENARIOS["migration"]),
    pytest.param("rollback: the migration fails", shared("failing-migration")),
    *(
        pytest.param(real, scenario, marks=pytest.mark.slow)
        for real, scenario in (
            ("update: code alone", shared("code-only")),
            ("rollback: the release does not start", shared("unhealthy")),
            ("update: pinned, rehearsed first", SCENARIOS["pinned"]),
            ("update: a pinned database", SCENARIOS[ALONE]),
            ("rollback: a pinned database", shared(f"{ALONE}-unhealthy")),
            ("restore: a backup", SCENARIOS["restore"]),
            ("restore: after the commit", SCENARIOS["rollback-to-a-backup"]),
        )
    ),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Place]]:
    """A home for each size of database, in megabytes."""
    if why := why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("traced").resolve()
    made: dict[int, Place] = {}

    def place(size_mb: int) -> Place:
        if size_mb not in made:
            made[size_mb] = Place(folder / str(size_mb), size_mb=size_mb)
        return made[size_mb]

    try:
        yield place
    finally:
        for one in made.values():
            one.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(("name", "scenario"), PAIRS)
def test_a_real_engine_does_what_the_simulated_one_does(
    places: Callable[[int], Place], name: str, scenario: Scenario
) -> None:
    real = scenarios.SCENARIOS[name]
    place = places(real.size_mb)
    carry_out(place, real)
    found = observed.without_repetition(recorded(place, real.aim))

    lines, violation = replayed(scenario)
    assert violation is None
    wanted = observed.without_repetition(observed.simulated(lines))

    assert not observed.missing(wanted, found), "\n".join(found)
    changes = {call for call in found if not call.startswith("fsync")}
    assert changes - set(wanted) <= BEYOND


def carry_out(place: Place, real: scenarios.Scenario) -> None:
    """Undisturbed, with every engine under strace."""
    place.restore()
    cases._ready(place, real)
    tool = place.plans.tools / "engine"
    as_it_was = tool.read_text()
    plain = as_it_was.partition("plan=$plans/")[0]
    strace = f'exec strace -qq -y -o "$plans/engine.$number.trace" -e trace={",".join(CALLS)}'
    tool.write_text(f'{plain}{strace} {shlex.quote(sys.executable)} "$@"\n')
    try:
        cases._undisturbed(place, real)
    finally:
        tool.write_text(as_it_was)


def recorded(place: Place, aim: str) -> Iterator[str]:
    """What the engines have done, one after the other."""
    traces = place.plans.folder.glob("engine.*.trace")
    for trace in sorted(traces, key=lambda trace: int(trace.name.split(".")[1])):
        new = place.source.commits[aim][:12]
        yield from observed.calls(trace.read_text(errors="replace"), place.home.root, new)


def test_a_call_that_is_not_made_or_comes_too_early_is_missed() -> None:
    wanted = ["fsync a", "rename to a", "fsync folder a"]

    assert observed.missing(wanted, ["fsync folder a", *wanted, "fsync b"]) == ""
    for left_out in wanted:
        assert left_out in observed.missing(wanted, [call for call in wanted if call != left_out])
    assert observed.missing(wanted, wanted[::-1])
