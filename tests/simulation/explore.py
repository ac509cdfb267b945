"""Breadth first through every placement of faults, each situation once.

A run is a chain of tasks. While one is done, every call in it leaves a fork: the world just
before. A crash at that call goes on from the fork; for a call that fails, the task is done again
from its beginning. Situations that are the same in every respect go on the same, so each is
explored once, with the fewest faults that lead to it: a violation is first found on a shortest
history.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tests.simulation.disk import ABSENT
from tests.simulation.engine import BOOT, DONE, ENGINE_KILLED, ENGINE_TASKS, Simulation, Task, key
from tests.simulation.world import LOCK, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.primitives import Fork
    from tests.simulation.scenarios import Scenario
    from tests.simulation.world import World


class Fault(NamedTuple):
    """One fault, at so many calls after the fault before it (or after the beginning)."""

    kind: str
    after: int

    def __str__(self) -> str:
        return f"{self.kind.replace(' ', '-')}@{self.after}"


History = tuple[Fault, ...]


class Found(NamedTuple):
    """A promise broken by a history."""

    scenario: str
    history: History
    rule: str
    text: str

    @property
    def replay(self) -> str:
        return ",".join((self.scenario, *map(str, self.history)))


@dataclass
class Result:
    """What an exploration has seen."""

    scenario: str
    histories: int = 0
    """That lead to situations which no other one leads to."""
    placements: int = 0
    """All that were tried; most lead to a situation that is known."""
    calls: int = 0
    by_faults: Counter[int] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)


class _Situation(NamedTuple):
    world: World
    task: Task
    history: History
    calls: int
    """Made since the last fault."""
    failing: tuple[tuple[int, str], ...] = ()
    """Calls of this task that fail."""


class Exploration:
    """Explores one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        faults: int,
        *,
        simulation: type[Simulation] = Simulation,
        left_out: frozenset[str] = frozenset(),
        violations: int = 1,
    ) -> None:
        self._scenario = scenario
        self._faults = faults
        self._simulation = simulation
        self._left_out = left_out
        self._violations = violations
        self._seen: set[int] = set()
        self.result = Result(scenario.name)

    def run(self) -> Result:
        """Explores up to so many faults, or until so many violations were found."""
        world = self._scenario.world()
        self._seen.add(hash(key(world, BOOT)))
        level = [_Situation(world, first_task(world), (), 0)]
        for depth in range(self._faults + 1):
            following: list[_Situation] = []
            for situation in level:
                self._follow(situation, None if depth == self._faults else following)
                if len(self.result.found) >= self._violations:
                    return self.result
            self.result.histories += len(level)
            self.result.by_faults[depth] = len(level)
            level = following
        return self.result

    def _follow(self, situation: _Situation | None, following: list[_Situation] | None) -> None:
        """To where all is quiet, or to a situation that is known."""
        on_the_way: set[int] = set()
        while situation is not None and situation.task is not DONE:
            situation = self._perform(situation, following)
            if situation is None or situation.task is DONE:
                return
            known = hash(key(situation.world, situation.task))
            if known in on_the_way:
                self._report(situation, situation.calls, Violation("ends", "It goes round."))
                return
            if known in self._seen:
                return
            self._seen.add(known)
            on_the_way.add(known)

    def _perform(
        self, situation: _Situation, following: list[_Situation] | None
    ) -> _Situation | None:
        # A fork may need the beginning again, and so may those that fail at another call of it.
        again = following is not None or situation.failing
        world = situation.world.copy() if again else situation.world
        forks: list[Fork] | None = None if following is None else []
        simulation = self._simulation(
            world,
            self._scenario,
            failing=situation.failing,
            forks=forks,
            left_out=self._left_out,
        )
        done_before, history, calls = _since_last_failure(situation)
        after: Task | None = None
        try:
            after = simulation.perform(situation.task)
        except Violation as violation:
            self._report(situation, calls + simulation.count - done_before, violation)
        self.result.calls += simulation.count
        if following is not None and forks is not None:
            for fork in forks[done_before:]:
                self._branch(situation, fork, history, calls - done_before, following)
        if after is None:
            return None
        return _Situation(world, after, history, calls + simulation.count - done_before)

    def _branch(
        self,
        situation: _Situation,
        fork: Fork,
        history: History,
        calls: int,
        following: list[_Situation],
    ) -> None:
        after = calls + fork.number
        for kind in fork.can:
            self.result.placements += 1
            failing = (*situation.failing, (fork.number, kind))
            fault = Fault(kind, after)
            following.append(
                _Situation(situation.world, situation.task, (*history, fault), after, failing)
            )
        for kind, world, task in crashes(fork.world, situation.task):
            self.result.placements += 1
            known = hash(key(world, task))
            if known not in self._seen:
                self._seen.add(known)
                following.append(_Situation(world, task, (*history, Fault(kind, after)), 0))

    def _report(self, situation: _Situation, calls: int, violation: Violation) -> None:
        del calls
        self.result.found.append(
            Found(self._scenario.name, situation.history, violation.rule, violation.text)
        )


def crashes(world: World, task: Task) -> Iterator[tuple[str, World, Task]]:
    """Every way in which all may end at this instant."""
    if task.do in ENGINE_TASKS:
        killed = world.copy()
        killed.engine_dies()
        yield "kill engine", killed, ENGINE_KILLED
    if world.disk.files[LOCK] is not ABSENT:
        damaged = world.copy()
        damaged.everything_dies()
        damaged.lock_is_damaged()
        yield "damage lock", damaged, BOOT
    for number, dead in enumerate(world.power_cuts()):
        yield f"power {number}" if number else "kill all", dead, BOOT


def first_task(world: World) -> Task:
    return BOOT if world.app is None else Task("update")


def _since_last_failure(situation: _Situation) -> tuple[int, History, int]:
    """The calls that were made before the last that fails, the history, the calls since."""
    if not situation.failing:
        return 0, situation.history, situation.calls
    return situation.failing[-1][0], situation.history, 0
