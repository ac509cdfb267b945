"""What visitors notice: failed, refused and slow requests, and the longest gap.

Every repeat takes its contenders once, one after the other, so that a machine that becomes slower
does so for all. Requests come at a fixed rate, half of them over new connections and half over
connections that are kept alive. Surefoot and the limit are measured ten times in every scenario at
the main rate; the others, of whom nothing is claimed, less often, so that all of it ends in time.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench import load
from bench.contenders import CONTENDERS, LIMIT
from bench.contenders.base import Contender, FailedError
from bench.contenders.surefoot import Overlap, Surefoot
from bench.effort import Effort
from bench.results import Figures
from bench.seen import Seen, Visitors, now_s
from bench.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.results import Row

LEAD_S, TAIL_S = 0.5, 0.3


@dataclass(frozen=True)
class Scenario:
    """One kind of update, at one rate, and how often it is measured."""

    name: str
    release: Callable[[Source], str]
    rate: int
    repeats: int
    """Of Surefoot and the limit."""
    overlap: int
    """Of Surefoot with an overlap."""
    others: int

    def within(self, effort: Effort) -> Scenario:
        """As often as that allows."""
        rate = max(20, self.rate // 10) if effort is Effort.QUICK else self.rate
        repeats, overlap, others = map(effort.repeats, (self.repeats, self.overlap, self.others))
        return replace(self, rate=rate, repeats=repeats, overlap=overlap, others=others)

    def takes(self, contender: Contender, repeat: int) -> bool:
        """Whether this contender is measured in this repeat."""
        if isinstance(contender, Overlap):
            return repeat < self.overlap
        return repeat < (self.repeats if isinstance(contender, (Surefoot, LIMIT)) else self.others)


MAIN_RATE = 200
UNREHEARSED = "rollback"
"""Behind the gate Surefoot finds out what it would have found before: its rehearsal is off."""
SCENARIOS = (
    Scenario("code", Source.code, MAIN_RATE, repeats=10, overlap=10, others=3),
    Scenario("code, 50/s", Source.code, 50, repeats=3, overlap=3, others=1),
    Scenario("code, 1000/s", Source.code, 1000, repeats=3, overlap=3, others=1),
    Scenario("dependency", Source.dependency, MAIN_RATE, repeats=10, overlap=3, others=3),
    # With a migration there is no overlap.
    Scenario("migration", Source.migration, MAIN_RATE, repeats=10, overlap=0, others=3),
    Scenario(UNREHEARSED, Source.sick, MAIN_RATE, repeats=10, overlap=3, others=3),
    # For the others it is what it was before: they have no rehearsal.
    Scenario("bad release", Source.sick, MAIN_RATE, repeats=3, overlap=3, others=0),
)


def measure(
    folder: Path,
    *,
    effort: Effort,
    only: Sequence[str] = (),
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> list[Row]:
    """`only`: these contenders, and the limit. A quick run asks at a tenth of the rate."""
    figures = Figures()
    source = Source(folder / "source")
    with _running(folder, source, only) as contenders:
        for planned in scenarios:
            scenario = planned.within(effort)
            _level(contenders, source)
            for repeat in range(scenario.repeats):
                taking_part = [each for each in contenders if scenario.takes(each, repeat)]
                _round(taking_part, source, scenario, figures)
                print(f"  {scenario.name}: {repeat + 1} of {scenario.repeats}", flush=True)
    return figures.rows()


def _level(contenders: list[Contender], source: Source) -> None:
    """Brings those that were not measured to the end to where the others are, unmeasured, so that
    the next update brings no more to them than to anybody."""
    wanted = source.version(source.latest)
    behind = [contender for contender in contenders if contender.version() != wanted]
    if not behind or source.latest.startswith("bad-"):
        return

    def catch_up(contender: Contender) -> None:
        contender.prepare()
        contender.update()
        contender.wait_for(wanted)
        contender.settle()

    with ThreadPoolExecutor(len(behind)) as pool:
        list(pool.map(catch_up, behind))


@contextlib.contextmanager
def _running(folder: Path, source: Source, only: Sequence[str]) -> Iterator[list[Contender]]:
    chosen = [
        kind(folder / kind.name, source)
        for kind in CONTENDERS
        if kind.is_available() and (not only or kind is LIMIT or kind.name in only)
    ]
    try:
        with ThreadPoolExecutor(len(chosen)) as pool:
            list(pool.map(lambda contender: contender.install(), chosen))
        for contender in chosen:
            contender.start()
        for contender in chosen:
            contender.wait_for(source.version(source.latest))
        yield chosen
    finally:
        for contender in chosen:
            contender.stop()


def _round(
    contenders: list[Contender], source: Source, scenario: Scenario, figures: Figures
) -> None:
    tag = scenario.release(source)
    measured: dict[str, Measured] = {}
    for contender in contenders:
        try:
            if tag.startswith("bad-"):
                found = _turn_back(contender, scenario)
            else:
                found = _update(contender, source, tag, scenario)
        except FailedError as error:
            print(f"  {scenario.name}: {error}", flush=True)
            figures.add(contender.name, scenario.name, "not_completed", "updates", 1)
            if source.latest.startswith("bad-"):
                source.code()  # repairs it
            _begin_anew(contender)
        else:
            measured[contender.name] = found
            _note(contender, scenario, found, figures)
    _note_ratios(scenario, measured, figures)


@dataclass(frozen=True)
class Measured:
    """One update of one contender."""

    seen: Seen
    usual_wait_s: float
    """The longest that somebody waited before it began."""
    whole_s: float | None = None
    after_verdict_s: float | None = None


def _update(contender: Contender, source: Source, tag: str, scenario: Scenario) -> Measured:
    contender.prepare()
    with Visitors(contender.port, scenario.rate) as visitors:
        time.sleep(LEAD_S)
        began_s = now_s()
        contender.update()
        contender.wait_for(source.version(tag))
        ended_s = now_s()
        time.sleep(TAIL_S)
    contender.settle()
    seen = visitors.seen
    return Measured(seen, seen.usual_wait_s(began_s), whole_s=ended_s - began_s)


def _turn_back(contender: Contender, scenario: Scenario) -> Measured:
    """A release comes that answers every request with 500, and is to be gone again.

    Surefoot passes the verdict itself. For the others the first bad answer of the health check is
    the verdict, and a person is there who types as quickly as a program.
    """
    before = contender.version() or ""
    contender.prepare()
    if isinstance(contender, Surefoot) and scenario.name == UNREHEARSED:
        contender.configure(rehearse=0, health="deadline = 3\n")
    with Visitors(contender.port, scenario.rate) as visitors:
        time.sleep(LEAD_S)
        began_s = now_s()
        contender.update()
        if isinstance(contender, Surefoot):
            verdict_s = contender.verdict_s()
        else:
            contender.wait_for_sickness()
            verdict_s = now_s()
            contender.go_back()
        contender.wait_for(before)
        time.sleep(TAIL_S)
    contender.settle()
    if isinstance(contender, Surefoot):
        contender.configure()
    seen = visitors.seen
    after_s = None
    if verdict_s is not None:
        after_s = (seen.first_good_after(verdict_s) or now_s()) - verdict_s
    return Measured(seen, seen.usual_wait_s(began_s), after_verdict_s=after_s)


def _begin_anew(contender: Contender) -> None:
    """What has failed is in nobody's way; the next release finds it as if nothing had been."""
    contender.stop()
    shutil.rmtree(contender.folder)
    contender.install()
    contender.start()
    contender.wait_for(contender.source.version(contender.source.latest))


def _note(contender: Contender, scenario: Scenario, found: Measured, figures: Figures) -> None:
    def add(metric: str, unit: str, value: float | None) -> None:
        if value is not None:
            figures.add(contender.name, scenario.name, metric, unit, value)

    seen = found.seen
    add("failed_requests", "requests", seen.failed())
    add("failed_kept", "requests", seen.failed(kept=True))
    add("refused_requests", "requests", seen.count(load.REFUSED))
    add("reset_requests", "requests", seen.count(load.RESET))
    add("turned_away", "requests", seen.count(load.TURNED_AWAY))
    add("slow_requests", "requests", seen.slow)
    add("longest_gap", "s", seen.longest_gap_s)
    add("longest_wait", "s", seen.longest_wait_s)
    add("wait_above_usual", "s", max(0.0, seen.longest_wait_s - found.usual_wait_s))
    add("lost_rows", "rows", len(set(seen.acknowledged) - contender.notes()))
    add("whole_update", "s", found.whole_s)
    add("rollback_after_verdict", "s", found.after_verdict_s)
    figures.add("generator", scenario.name, "cpu_share", "ratio", seen.generator_share)


def _note_ratios(scenario: Scenario, found: dict[str, Measured], figures: Figures) -> None:
    """To the limit, in the same round."""
    if LIMIT.name not in found:
        return
    limit = found[LIMIT.name]
    for name, measured in found.items():
        ratio = measured.seen.longest_gap_s / limit.seen.longest_gap_s
        figures.add(name, scenario.name, "window_ratio", "ratio", ratio)
        if measured.after_verdict_s is not None and limit.after_verdict_s:
            ratio = measured.after_verdict_s / limit.after_verdict_s
            figures.add(name, scenario.name, "rollback_ratio", "ratio", ratio)
