"""Strikes at instants of real updates, and tells what became of each: a case is an instant and what
happens there.

python -m tests.crash.sweep                 every case, and a table
python -m tests.crash.sweep --sample 20     an even sample, by a seed that is printed
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tests.crash.injection import Instant, in_recovery, variants
from tests.crash.place import Place, Writer, why_not
from tests.crash.sample import FIRST
from tests.crash.verdict import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from surefoot.update.lock import Kind


LARGE_MB = 36


@dataclass(frozen=True)
class Scenario:
    """One update."""

    name: str
    aim: str
    """The release that is asked for."""
    migrates: bool = True
    outcome: str = "committed"
    """How it ends undisturbed."""
    rehearses: bool = False
    size_mb: int = 0
    """Of the database; a large one is pinned, a small one copied."""
    mode: str = "wal"
    """The journal mode of the database."""
    kind: Kind = "update"
    before: str = ""
    """The release that is in use before, if not the first: it came undisturbed."""

    @property
    def old(self) -> str:
        return self.before or FIRST.tag


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("update: code alone", "code", migrates=False),
        Scenario("update: code, environment, migration", "whole"),
        Scenario("rollback: the migration fails", "fails", outcome="rolled_back"),
        Scenario("rollback: the release does not start", "ill", outcome="rolled_back"),
        Scenario("update: rehearsed first", "whole", rehearses=True),
        Scenario("update: a pinned database", "whole", size_mb=LARGE_MB),
        Scenario("rollback: a pinned database", "ill", outcome="rolled_back", size_mb=LARGE_MB),
        Scenario("update: pinned, rehearsed first", "whole", rehearses=True, size_mb=LARGE_MB),
        Scenario("update: pinned, other mode", "whole", size_mb=LARGE_MB, mode="delete"),
        Scenario(
            "rollback: pinned, other mode",
            "ill",
            outcome="rolled_back",
            size_mb=LARGE_MB,
            mode="delete",
        ),
        Scenario("restore: a backup", "code", kind="restore", before="code"),
        Scenario("restore: after the commit", "first", kind="rollback", before="whole"),
    )
}


@dataclass(frozen=True)
class Case:
    scenario: Scenario
    instant: Instant
    second: Instant | None = None
    """Struck at as well, while the first is being recovered from."""

    def __str__(self) -> str:
        second = f", then {self.second}" if self.second else ""
        return f"[{self.scenario.name}] {self.instant}{second}"


def baseline(place: Place, scenario: Scenario) -> list[Case]:
    """Every case of a scenario: it is carried out once, undisturbed, and recorded."""
    place.restore()
    _ready(place, scenario)
    place.plans.record()
    verdict = _carry_out(place, scenario)
    if verdict.problems or verdict.outcome != scenario.outcome:
        raise AssertionError(f"undisturbed, {scenario.name}: {verdict}\n{place.log.read_text()}")
    return [
        Case(scenario, variant)
        for instant in place.plans.recorded()
        for variant in variants(instant)
    ]


def run(place: Place, case: Case) -> Verdict:
    """Carries out the update, strikes at the instant, starts again, and looks."""
    place.restore()
    _ready(place, case.scenario)
    for instant in filter(None, (case.instant, case.second)):
        place.plans.strike(instant)
    verdict = _carry_out(place, case.scenario, case.second or case.instant)
    if verdict.problems:
        verdict.log = place.log.read_text(errors="replace")
    return verdict


def _ready(place: Place, scenario: Scenario) -> None:
    """All that comes before, undisturbed."""
    place.configure(migrates=scenario.migrates, rehearses=scenario.rehearses)
    if scenario.before:
        place.start()
        place.wait_for(lambda: place.version() is not None, "the app serves")
        place.ask_for(scenario.before)
        place.wait_for(lambda: place.version() == scenario.before, f"{scenario.before} serves")
        place.wait_for(lambda: _is_tidy(place), "all has settled")
        place.stop()
        place.log.unlink()
        place.plans.forget()


def _carry_out(place: Place, scenario: Scenario, last: Instant | None = None) -> Verdict:
    update = ""

    def struck() -> bool:
        return last is not None and place.plans.has_struck(last.program)

    def is_healthy_again() -> bool:
        if not place.is_running:
            place.start()
        return place.is_quiet and place.version() is not None

    with Writer(place) as writer:
        try:
            place.start()
            place.wait_for(lambda: place.version() is not None, "the app serves before the update")
            update = place.ask_for(scenario.aim, scenario.kind)
            place.wait_for(lambda: place.plans.is_begun or not place.is_running, "an engine runs")
            place.wait_for(lambda: not place.is_running or place.is_quiet, "the update has ended")
            place.wait_for(is_healthy_again, "the app is healthy again")
            written = len(writer.acknowledged)
            place.wait_for(lambda: len(writer.acknowledged) > written, "new rows are accepted")
            with contextlib.suppress(TimeoutError):  # the verdict says so
                place.wait_for(lambda: not place.home.request.exists(), "it is taken up", 10)
            place.wait_for(lambda: _is_tidy(place), "all has settled")
        except TimeoutError as error:
            writer.end()
            problems = [str(error), f"processes: {list(place.processes().values())}"]
            return Verdict(struck=struck(), serves=place.version(), problems=problems)
        writer.end()
    return judge(
        place,
        scenario.aim,
        update,
        writer.acknowledged,
        struck=struck(),
        old=scenario.old,
        replaces=scenario.kind != "update",
    )


def _is_tidy(place: Place) -> bool:
    """Quiet, and a moment later still."""
    if not place.is_quiet:
        return False
    time.sleep(0.3)
    return place.is_quiet


@dataclass
class Row:
    """One line of the table."""

    cases: int = 0
    struck: int = 0
    whole: int = 0
    old: int = 0
    new: int = 0
    lost: int = 0
    violations: list[str] = field(default_factory=list)

    def count(self, case: Case, verdict: Verdict) -> None:
        self.cases += 1
        self.struck += verdict.struck
        self.lost += verdict.lost
        self.new += verdict.serves == case.scenario.aim
        self.old += verdict.serves == case.scenario.old
        if verdict.problems:
            self.violations.append(f"{case}: {'; '.join(verdict.problems)}")
        else:
            self.whole += 1


class Table:
    """What became of the cases, by scenario and kind."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Row] = defaultdict(Row)

    def count(self, case: Case, verdict: Verdict) -> None:
        self.rows[case.scenario.name, case.instant.kind].count(case, verdict)

    @property
    def violations(self) -> list[str]:
        return [one for row in self.rows.values() for one in row.violations]

    def __str__(self) -> str:
        head = f"{'update':<38} {'instant':<30} {'number':>7} {'reached':>7} {'whole':>7} " \
               f"{'old':>6} {'new':>6} {'rows lost':>9}"  # fmt: skip
        lines = [head, "-" * len(head)]
        total = Row()
        for (name, kind), row in sorted(self.rows.items()):
            lines.append(_line(name, kind, row))
            for key in ("cases", "struck", "whole", "old", "new", "lost"):
                setattr(total, key, getattr(total, key) + getattr(row, key))
        return "\n".join([*lines, "-" * len(head), _line("all", "", total)])


def _line(name: str, kind: str, row: Row) -> str:
    return (
        f"{name:<38} {kind:<30} {row.cases:>7} {row.struck:>7} {row.whole:>7} "
        f"{row.old:>6} {row.new:>6} {row.lost:>9}"
    )


def sample(cases: list[Case], size: int, seed: int) -> list[Case]:
    """An even one: the same step from case to case, from a start that the seed chooses."""
    if size >= len(cases):
        return cases
    step = len(cases) / size
    start = random.Random(seed).uniform(0, step)
    return [cases[int(start + i * step) % len(cases)] for i in range(size)]


def sweep(places: list[Place], cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
    """Each in a place of its own, as many at a time as there are places."""
    free: SimpleQueue[Place] = SimpleQueue()
    for place in places:
        free.put(place)

    def carried_out(case: Case) -> tuple[Case, Verdict]:
        place = free.get()
        try:
            return case, run(place, case)
        finally:
            free.put(place)

    with ThreadPoolExecutor(len(places)) as workers:
        for done in as_completed([workers.submit(carried_out, case) for case in cases]):
            yield done.result()
    for place in places:
        place.kill()


def main() -> int:
    options = _options()
    if why := why_not():
        sys.stdout.write(f"The crash test cannot be run: {why}.\n")
        return 2
    # Ended from outside, it leaves no app behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    chosen = [s for s in SCENARIOS.values() if options.only in s.name]
    table = Table()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="surefoot-crash-") as folder:
        for size_mb, mode in sorted({(s.size_mb, s.mode) for s in chosen}):
            places = [
                Place(
                    Path(folder).resolve() / f"{size_mb}-{mode}-{job}", size_mb=size_mb, mode=mode
                )
                for job in range(options.jobs)
            ]
            try:
                fitting = [s for s in chosen if (s.size_mb, s.mode) == (size_mb, mode)]
                cases = [c for s in fitting for c in baseline(places[0], s)]
                _swept(places, _chosen(cases, options, seed), table, options.log)
            finally:
                for place in places:
                    place.kill()
    sys.stdout.write(f"{table}\n")
    for violation in table.violations:
        sys.stdout.write(f"VIOLATED: {violation}\n")
    return 1 if table.violations else 0


def _chosen(cases: list[Case], options: argparse.Namespace, seed: int) -> list[Case]:
    cases = [c for c in cases if options.kind in c.instant.kind]
    cases = [c for c in cases if not options.without or options.without not in str(c)]
    if options.twice:
        cases = [replace(c, second=in_recovery(c.instant, f"{seed} {c}")) for c in cases]
    part, parts = map(int, options.part.split("/"))
    cases = cases[part - 1 :: parts]
    size = options.sample or len(cases)
    sys.stdout.write(f"{min(size, len(cases))} of {len(cases)} cases, seed {seed}.\n")
    return sample(cases, size, seed)


def _swept(places: list[Place], cases: list[Case], table: Table, log: str | None) -> None:
    begin = time.monotonic()
    for number, (case, verdict) in enumerate(sweep(places, cases), 1):
        table.count(case, verdict)
        spent_s = time.monotonic() - begin
        if verdict.problems:
            sys.stdout.write(f"VIOLATED: {case}: {'; '.join(verdict.problems)}\n")
        if log is not None:
            with Path(log).open("a") as file:
                file.write(f"{spent_s:.1f} {case} {verdict}\n{verdict.log}")
        if number % 20 == 0:
            sys.stdout.write(f"{number} of {len(cases)}, {spent_s:.0f} s\n")
        sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sample", type=int, default=0, help="how many cases of each size of database; else all"
    )
    parser.add_argument("--seed", type=int, help="chooses the sample")
    parser.add_argument("--part", default="1/1", help="2/5 is the second of five parts of all")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument(
        "--twice", action="store_true", help="strike a second time, in the recovery from the first"
    )
    parser.add_argument("--only", default="", help="part of a scenario's name")
    parser.add_argument("--kind", default="", help="part of an instant's kind")
    parser.add_argument("--without", default="", help="part of the call, e.g. run/progress")
    parser.add_argument("--folder", help="where the homes are made, e.g. /dev/shm")
    parser.add_argument("--log", help="a file that gets a line for each instant")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
