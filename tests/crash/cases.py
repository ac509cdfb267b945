"""A case is an instant of an update and what happens there: which ones there are, and what became
of one."""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.crash.injection import Call, Dies, Instant, evenly, thinned, variants
from tests.crash.place import Copies, Place, Writer
from tests.crash.verdict import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.crash.scenarios import Scenario

PROGRAMS = ("engine", "git", "migration")
_AT_ONCE_S = 0.005
"""Between two calls that are further apart another program may have changed something."""
MOST_ALIKE = 3
"""How many calls are made to fail of those that one line of code makes for one purpose."""


@dataclass(frozen=True)
class Case:
    scenario: Scenario
    instant: Instant
    second: Instant | None = None
    """Struck at as well, while the first is being recovered from."""
    state: int | None = None
    """The copy of the home from which to start, where there is one: what the end of everything at
    this instant leaves. The update is not carried out up to there once more."""
    instants: int = 1
    """How many leave the same behind; this is the first of them."""

    @property
    def key(self) -> str:
        return str(self)

    def __str__(self) -> str:
        second = f", then {self.second}" if self.second else ""
        return f"[{self.scenario.name}] {self.instant}{second}"


def baseline(
    place: Place,
    scenario: Scenario,
    kind: str = "",
    programs: Sequence[str] = PROGRAMS,
    *,
    copies: bool = True,
) -> list[Case]:
    """Every case of a scenario: it is carried out once for each program, undisturbed, and recorded.

    Instants which provably leave the same behind are one case; see `Case.instants`. With `kind`
    only those in whose kind it is found. With `copies` the end of everything is the copy of a home
    in which all stood still, where the database is in it and is known by what is in it: a pin knows
    it by its inode. Else everything is really ended.
    """
    calls = {program: _recorded(place, scenario, program) for program in programs}
    if not scenario.whole:
        calls = {program: _since_staged(made) for program, made in calls.items()}
    cases: list[Case] = []
    if any(kind in Instant(program, "").kind for program in programs):
        if copies and not scenario.is_pinned and scenario.mode != "postgresql":
            cases += _copied(place, scenario, calls)
        else:
            cases += [case for made in calls.values() for case in _killed(scenario, made, Dies.ALL)]
    for made in calls.values():
        cases += _killed(scenario, made, Dies.IT)
        cases += _failing(scenario, made)
    return [case for case in cases if kind in case.instant.kind]


def _recorded(place: Place, scenario: Scenario, program: str) -> list[Call]:
    place.restore()
    _ready(place, scenario)
    place.plans.record(program)
    _undisturbed(place, scenario)
    return thinned(place.plans.recorded())


def _since_staged(calls: list[Call]) -> list[Call]:
    """What comes from the record on with which a release is staged. git runs before that alone."""
    if calls and calls[0].program.startswith("git"):
        return []
    staged = (n for n, call in enumerate(calls) if "/.release.json.new" in call.name)
    return calls[next(staged, 0) :]


def _undisturbed(place: Place, scenario: Scenario) -> tuple[str, Writer]:
    writer = Writer(place, 0.5)
    verdict, update = _carry_out(place, scenario, None, writer)
    if verdict.problems or verdict.outcome != scenario.outcome:
        raise AssertionError(f"undisturbed, {scenario.name}: {verdict}\n{place.log.read_text()}")
    return update, writer


def _copied(place: Place, scenario: Scenario, calls: dict[str, list[Call]]) -> Iterator[Case]:
    """The end of everything: the home is copied right before the calls, and each state is one
    case, whichever calls it comes before."""
    cases = [case for made in calls.values() for case in _killed(scenario, made, Dies.ALL)]
    found: dict[str, list[Case]] = {}
    for case, digest in _with_copies(place, scenario, cases):
        found.setdefault(digest or str(case), []).append(case)
    for same in found.values():
        yield replace(same[0], instants=sum(case.instants for case in same))


def again(place: Place, scenario: Scenario, cases: list[Case]) -> list[Case]:
    """The cases of an earlier recording, with copies of the home made anew."""
    begun = [case for case in cases if case.state is not None]
    others = [case for case in cases if case.state is None]
    return [case for case, _ in _with_copies(place, scenario, begun)] + others


def _with_copies(place: Place, scenario: Scenario, cases: list[Case]) -> Iterator[tuple[Case, str]]:
    """The cases with the state to begin with, and its digest; an instant that is not reached this
    time is left to be really struck."""
    copies = place.copies = Copies()
    shutil.rmtree(place.plans.states, ignore_errors=True)
    for program in PROGRAMS:
        by_call = {
            (case.instant.program, case.instant.call): replace(case, state=None)
            for case in cases
            if case.instant.program.partition(".")[0] == program
        }
        if not by_call:
            continue
        place.restore()
        _ready(place, scenario)
        place.plans.copy(list(by_call))
        copies.update[program], copies.writers[program] = _undisturbed(place, scenario)
        place.kill()
        for number, at_s, digest, which in place.plans.copied(program):
            copies.at_s[number] = at_s
            yield replace(by_call.pop(which), state=number), digest
        for case in by_call.values():
            yield case, ""


def _killed(scenario: Scenario, calls: list[Call], dies: Dies) -> list[Case]:
    """The end of the program. A call that changed nothing makes no case of the next one."""
    found: list[tuple[Call, int]] = []
    before: Call | None = None
    for call in calls:
        is_same = (
            before is not None
            and before.program == call.program
            and not before.changes
            and call.at_s - before.at_s < _AT_ONCE_S
        )
        if is_same:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((call, 1))
        before = call
    return [
        Case(scenario, Instant(call.program, call.name, dies), instants=number)
        for call, number in found
    ]


def _failing(scenario: Scenario, calls: list[Call]) -> list[Case]:
    """Calls that fail. Of those that only show or log how far it is, and of a tree that is flushed
    file by file, an even choice stands for all."""
    groups: dict[str, list[Call]] = {}
    before = ""
    for call in calls:
        name, _, path = call.name.rpartition(" ")[0].partition(" ")
        group = call.name
        if path in {"run/progress", "log"}:
            group = f"{name} {path}"
        elif name == "fsync":
            group = before if before.startswith("fsync ") else call.name
        groups.setdefault(group, []).append(call)
        before = group
    cases = []
    for alike in groups.values():
        chosen = evenly(alike, MOST_ALIKE)
        for call in chosen:
            number = len(alike) - len(chosen) + 1 if call is chosen[0] else 1
            cases += [
                Case(scenario, instant, instants=number)
                for instant in variants(call.program, call.name)
                if instant.error
            ]
    return cases


def run(place: Place, case: Case) -> Verdict:
    """Carries out the update, strikes at the instant, starts again, and looks."""
    if case.state is not None:
        verdict = _go_on(place, case)
    else:
        place.restore()
        _ready(place, case.scenario)
        for instant in filter(None, (case.instant, case.second)):
            place.plans.strike(instant)
        verdict, _ = _carry_out(place, case.scenario, case.second or case.instant, Writer(place))
    if verdict.problems:
        verdict.log = place.log.read_text(errors="replace")
    place.kill()
    return verdict


def _go_on(place: Place, case: Case) -> Verdict:
    """Starts in the state that the instant has left."""
    assert case.state is not None
    program = case.instant.program.partition(".")[0]
    copies = place.copies
    place.restore(case.state)
    place.configure(migrates=case.scenario.migrates, rehearses=case.scenario.rehearses)
    if case.second:
        place.plans.strike(case.second)
    writer = Writer(place)
    writer.acknowledged = copies.writers[program].until(copies.at_s[case.state])
    verdict, _ = _settle(place, case.scenario, case.second, writer, update=copies.update[program])
    verdict.struck = verdict.struck or case.second is None
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


def _carry_out(
    place: Place, scenario: Scenario, last: Instant | None, writer: Writer
) -> tuple[Verdict, str]:
    return _settle(place, scenario, last, writer, update="")


def _settle(
    place: Place, scenario: Scenario, last: Instant | None, writer: Writer, update: str
) -> tuple[Verdict, str]:
    """Starts, asks for the update unless one is on its way, and looks when all has come to rest."""

    def struck() -> bool:
        return last is not None and place.plans.has_struck(last.program)

    def is_healthy_again() -> bool:
        if not place.is_running:
            place.start()
        return place.is_quiet and place.version() is not None

    with writer:
        try:
            place.start()
            if not update:
                place.wait_for(lambda: place.version() is not None, "the app serves before it")
                update = place.ask_for(scenario.aim, scenario.kind)
                place.wait_for(lambda: place.plans.is_begun or not place.is_running, "it begins")
                place.wait_for(lambda: not place.is_running or place.is_quiet, "it has ended")
            place.wait_for(is_healthy_again, "the app is healthy again")
            written = len(writer.acknowledged)
            place.wait_for(lambda: len(writer.acknowledged) > written, "new rows are accepted")
            with contextlib.suppress(TimeoutError):  # the verdict says so
                place.wait_for(lambda: not place.home.request.exists(), "it is taken up", 10)
            # What was struck late is only seen now.
            place.wait_for(lambda: is_healthy_again() and _is_tidy(place), "all has settled")
        except TimeoutError as error:
            writer.end()
            problems = [str(error), f"processes: {list(place.processes().values())}"]
            return Verdict(struck=struck(), serves=place.version(), problems=problems), update
        writer.end()
    verdict = judge(
        place,
        scenario.aim,
        update,
        writer.acknowledged,
        struck=struck(),
        old=scenario.old,
        replaces=scenario.kind != "update",
    )
    return verdict, update


def _is_tidy(place: Place) -> bool:
    """Quiet, and a moment later still."""
    if not place.is_quiet:
        return False
    time.sleep(0.2)
    return place.is_quiet
