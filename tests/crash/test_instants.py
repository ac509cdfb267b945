"""An even sample of all the instants, by a seed; `make crash-test` strikes at every one of them.

SUREFOOT_CRASH_SEED=123 strikes where a run that printed 123 did, SUREFOOT_CRASH_SAMPLE=n at n
instants of each update.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import sqlite3
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from tests.crash.cases import PROGRAMS, Case, baseline, run
from tests.crash.injection import Dies, Instant, variants
from tests.crash.place import Place, Writer, why_not
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.crash.sweep import Log, sample, sweep
from tests.crash.table import Table
from tests.crash.verdict import Verdict, judge
from tests.databases.postgresql_server import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SEED = int(os.environ.get("SUREFOOT_CRASH_SEED") or random.SystemRandom().randrange(10**6))
SIZE = int(os.environ.get("SUREFOOT_CRASH_SAMPLE") or 2)
CODE = SCENARIOS["update: code alone"]
WHOLE = SCENARIOS["update: code, environment, migration"]
FAILING = SCENARIOS["rollback: the migration fails"]
IN_CI = {
    "update: code, environment, migration",
    "rollback: the migration fails",
    "update: rehearsed first",
    "rollback: pinned, other mode",
    "update: PostgreSQL",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Scenario], Place]]:
    """A home for each kind of database."""
    if why := why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("crash").resolve()
    made: dict[tuple[int, str], Place] = {}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)

        def place(scenario: Scenario) -> Place:
            kind = (scenario.size_mb, scenario.mode)
            if kind not in made:
                server = stack.enter_context(running()) if kind[1] == "postgresql" else None
                where = folder / "-".join(map(str, kind))
                made[kind] = Place(where, size_mb=kind[0], mode=kind[1], server=server)
                stack.callback(made[kind].kill)
            return made[kind]

        yield place


@pytest.fixture
def place(places: Callable[[Scenario], Place]) -> Place:
    return places(CODE)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(s, id=name, marks=[] if name in IN_CI else [pytest.mark.slow])
        for name, s in SCENARIOS.items()
    ],
)
def test_whatever_instant_is_struck_the_app_is_whole(
    places: Callable[[Scenario], Place], scenario: Scenario
) -> None:
    place = places(scenario)
    program = random.Random(f"{SEED} {scenario}").choice(
        PROGRAMS if scenario.migrates else ["engine", "git"]
    )
    cases = baseline(place, scenario, programs=[program], copies=False)
    sys.stdout.write(f"{SIZE} of {len(cases)} cases, SUREFOOT_CRASH_SEED={SEED}\n")
    table = Table()
    for case, verdict in sweep([place], sample(cases, SIZE, SEED)):
        table.count(case, verdict)
    sys.stdout.write(f"{table}\n")
    assert not table.violations, (SEED, table.violations)


def test_a_home_that_was_copied_in_mid_update_is_taken_up_as_after_a_kill(place: Place) -> None:
    cases = baseline(place, WHOLE, "everything dies", programs=["migration"])
    assert sum(case.instants for case in cases) > len(cases) > 10
    half_way = next(c for c in cases if "data/rows.db-wal" in c.instant.call)
    verdict = run(place, half_way)
    assert (verdict.problems, verdict.serves) == ([], "whole")
    assert {"snapshotted", "migrated"} <= set(place.events(place.copies.update["migration"]))


@pytest.mark.parametrize("dies", [Dies.IT, Dies.ALL])
def test_a_request_whose_engine_died_before_it_wrote_the_lock_is_taken_up(
    place: Place, dies: Dies
) -> None:
    first = Instant("engine.1", "create data/.UPDATE_LOCK.json.new #1", dies)
    verdict = run(place, Case(CODE, first))
    assert verdict.struck
    assert (verdict.problems, verdict.serves) == ([], "code")


def test_a_request_is_not_asked_again_after_a_crash_while_it_was_taken_up(place: Place) -> None:
    verdict = run(place, Case(FAILING, Instant("engine.1", "unlink run/request.json #1")))
    assert verdict.struck
    assert (verdict.problems, verdict.outcome) == ([], "rolled_back")


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_an_update_that_cannot_be_recorded_is_abandoned_and_says_why(
    place: Place, call: str
) -> None:
    lock = f"{call} data/.UPDATE_LOCK.json.new #1"
    verdict = run(place, Case(CODE, Instant("engine.1", lock, Dies.NOTHING, "EIO")))
    assert verdict.struck
    assert (verdict.problems, verdict.outcome) == ([], "abandoned")


def test_what_is_not_whole_is_noticed(place: Place) -> None:
    """The verdict itself can fail: in each part of the app, and for a single row."""
    place.restore()
    place.configure()
    place.start()
    place.wait_for(lambda: place.version() is not None, "the app serves")
    update = place.ask_for("whole")
    place.wait_for(lambda: place.version() == "whole" and place.is_quiet, "it is updated")

    def problems(rows: dict[int, str]) -> str:
        return " ".join(judge(place, "whole", update, rows, struck=True).problems)

    rows = dict(Writer(place).acknowledged)
    assert problems(rows) == ""
    assert "1 of" in problems(rows | {10**6: "never written"})
    code = place.home.current / "app" / "migrate.py"
    text = code.read_text()
    code.write_text("")
    assert "migrate.py" in problems(rows)
    code.write_text(text)
    with closing(sqlite3.connect(place.home.data / "rows.db")) as connection:
        connection.execute("UPDATE rows SET length = NULL WHERE id = 1")
        connection.commit()
        assert "half done" in problems(rows)
        connection.execute("PRAGMA user_version=1")
        assert "the schema is 1" in problems(rows)


def test_a_sample_is_even_and_the_seed_says_which() -> None:
    cases = [Case(CODE, v) for n in range(30) for v in variants("engine.1", f"write x #{n}")]
    assert sample(cases, 10, 1) == sample(cases, 10, 1)
    assert sample(cases, 10, 1) != sample(cases, 10, 3)
    places = [cases.index(case) for case in sample(cases, 10, 1)]
    assert {later - earlier for earlier, later in itertools.pairwise(places)} == {12}
    assert {case.instant.kind for case in cases} == {
        "engine: it alone dies", "engine: everything dies", "ENOSPC in engine", "EIO in engine",
    }  # fmt: skip


def test_a_sweep_that_was_ended_goes_on_where_it_was(tmp_path: Path) -> None:
    cases = [Case(CODE, v) for n in range(5) for v in variants("git.1", f"write x #{n}")]
    file = str(tmp_path / "log")
    for case in cases[:3]:
        Log(file).add(case, Verdict(struck=True, serves="code", outcome="committed"))
    Log(file).add(cases[3], Verdict(struck=True, serves="first", problems=["a row"], lost=1))
    table = Table()
    assert Log(file).take(cases, table) == cases[4:]
    assert len(table.violations) == 1
    assert sum(row.whole for row in table.rows.values()) == 3
    assert sum(row.lost for row in table.rows.values()) == 1
