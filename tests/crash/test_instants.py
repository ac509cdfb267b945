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
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.crash.injection import Dies, Instant, variants
from tests.crash.place import Place, Writer, why_not
from tests.crash.sweep import SCENARIOS, Case, Scenario, Table, baseline, run, sample, sweep
from tests.crash.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SEED = int(os.environ.get("SUREFOOT_CRASH_SEED") or random.SystemRandom().randrange(10**6))
SIZE = int(os.environ.get("SUREFOOT_CRASH_SAMPLE") or 2)
CODE = SCENARIOS["update: code alone"]
FAILING = SCENARIOS["rollback: the migration fails"]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Place]]:
    """A home for each size of database, in megabytes."""
    if why := why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("crash").resolve()
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


@pytest.fixture
def place(places: Callable[[int], Place]) -> Place:
    return places(0)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(s, id=name, marks=[pytest.mark.slow] * (s.size_mb > 0 and s.mode != "delete"))
        for name, s in SCENARIOS.items()
    ],
)
def test_whatever_instant_is_struck_the_app_is_whole(
    places: Callable[[int], Place], scenario: Scenario
) -> None:
    place = places(scenario.size_mb)
    cases = baseline(place, scenario)
    sys.stdout.write(f"{SIZE} of {len(cases)} cases, SUREFOOT_CRASH_SEED={SEED}\n")
    table = Table()
    for case, verdict in sweep([place], sample(cases, SIZE, SEED)):
        table.count(case, verdict)
    sys.stdout.write(f"{table}\n")
    assert not table.violations, (SEED, table.violations)


def instant(place: Place, scenario: Scenario, meant: Callable[[Instant], bool]) -> Instant:
    return next(c.instant for c in baseline(place, scenario) if meant(c.instant))


@pytest.mark.parametrize("dies", [Dies.IT, Dies.ALL])
def test_a_request_whose_engine_died_before_it_wrote_the_lock_is_taken_up(
    place: Place, dies: Dies
) -> None:
    first = instant(place, CODE, lambda i: i.program == "engine.1" and i.dies is dies)
    assert "UPDATE_LOCK" in first.what
    verdict = run(place, Case(CODE, first))
    assert verdict.struck
    assert (verdict.problems, verdict.serves) == ([], "code")


def test_a_request_is_not_asked_again_after_a_crash_while_it_was_taken_up(place: Place) -> None:
    withdrawn = instant(place, FAILING, lambda i: i.call == "unlink" and "request.json" in i.what)
    verdict = run(place, Case(FAILING, withdrawn))
    assert verdict.struck
    assert (verdict.problems, verdict.outcome) == ([], "rolled_back")


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_an_update_that_cannot_be_recorded_is_abandoned_and_says_why(
    place: Place, call: str
) -> None:
    fails = instant(place, CODE, lambda i: i.call == call and i.n == 1 and i.error != "")
    verdict = run(place, Case(CODE, fails))
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
    first = Instant("engine.1", "write", 1)
    cases = [Case(CODE, v) for n in range(30) for v in variants(Instant("engine.1", "write", n))]
    assert sample(cases, 10, 1) == sample(cases, 10, 1)
    assert sample(cases, 10, 1) != sample(cases, 10, 3)
    places = [cases.index(case) for case in sample(cases, 10, 1)]
    assert {later - earlier for earlier, later in itertools.pairwise(places)} == {12}
    assert {v.kind for v in variants(first)} == {
        "engine: it alone dies", "engine: everything dies", "ENOSPC in engine", "EIO in engine",
    }  # fmt: skip
