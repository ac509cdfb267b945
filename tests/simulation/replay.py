"""One history, call by call: what happened, in the order in which it happened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.engine import DONE, ENGINE_TASKS, Simulation, Task, key
from tests.simulation.explore import Fault, History, crashes, first_task
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.world import Violation, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.scenarios import Scenario


class _Crashed(BaseException):
    """The engine, or everything, has ended at this call."""

    def __init__(self, world: World, task: Task) -> None:
        self.world = world
        self.task = task


class _Script:
    """The faults that are still to come, and the lines that have been told."""

    def __init__(self, history: History) -> None:
        self.faults = list(history)
        self.calls = 0
        self._known: set[object] = set()
        self.lines: list[tuple[str, str]] = []

    def look_round(self, known: object) -> None:
        """Raises Violation where everything is as it was before, since the last fault."""
        if known in self._known:
            raise Violation("ends", "It goes round.")
        self._known.add(known)

    def due(self) -> Fault | None:
        self.calls += 1
        if self.faults and self.faults[0].after == self.calls:
            self.calls = 0
            self._known.clear()
            return self.faults.pop(0)
        return None


def replaying(simulation: type[Simulation], script: _Script) -> type[Simulation]:
    """The simulation, with faults by the script instead of forks."""

    class Replay(simulation):  # type: ignore[misc, valid-type]
        task: Task

        def perform(self, task: Task) -> Task:
            self.task = task
            return super().perform(task)  # type: ignore[no-any-return]

        def _fault(self, what: str, can: tuple[str, ...]) -> str | None:
            fault = script.due()
            if fault is None:
                script.lines.append(("call", what))
                return None
            script.lines.append(("FAULT", f"{fault.kind}, at: {what}"))
            if fault.kind in can:
                return fault.kind
            for kind, world, task in crashes(self.world, self.task):
                if kind == fault.kind:
                    raise _Crashed(world, task)
            raise ValueError(f"{fault} cannot happen at: {what}")

    return Replay


def replay(
    text: str,
    *,
    simulation: type[Simulation] = Simulation,
    left_out: frozenset[str] = frozenset(),
) -> tuple[list[tuple[str, str]], Violation | None]:
    """Runs the history that `text` names; returns what happened, and the promise it broke."""
    name, *faults = text.split(",")
    history = tuple(map(parsed, faults))
    return replayed(SCENARIOS[name], history, simulation=simulation, left_out=left_out)


def replayed(
    scenario: Scenario,
    history: History = (),
    *,
    simulation: type[Simulation] = Simulation,
    left_out: frozenset[str] = frozenset(),
) -> tuple[list[tuple[str, str]], Violation | None]:
    """The same, of any scenario."""
    script = _Script(history)
    replaying_simulation = replaying(simulation, script)
    world = scenario.world()
    task = first_task(world)
    violation = None
    while task is not DONE and violation is None:
        state = f" {task.update.state}" if task.update else ""
        script.lines.append(("task", f"{'engine' if task.do in ENGINE_TASKS else 'supervisor'}: "
                             f"{task.do}{state}"))  # fmt: skip
        step = replaying_simulation(world, scenario, left_out=left_out)
        try:
            task = step.perform(task)
            script.look_round(key(world, task))
        except _Crashed as crash:
            world, task = crash.world, crash.task
        except Violation as broken:
            violation = broken
            script.lines.append(("BROKEN PROMISE", str(broken)))
    return script.lines, violation


def parsed(text: str) -> Fault:
    kind, _, after = text.rpartition("@")
    return Fault(kind.replace("-", " "), int(after))


def told(lines: list[tuple[str, str]], *, full: bool = False) -> Iterator[str]:
    """Lines for a reader. Calls of a task in which nothing went wrong are only counted."""
    tasks: list[list[tuple[str, str]]] = []
    for kind, text in lines:
        if kind == "task":
            tasks.append([])
        tasks[-1].append((kind, text))
    for task in tasks:
        calls = sum(kind == "call" for kind, _ in task)
        if full or any(kind not in {"call", "task"} for kind, _ in task):
            yield task[0][1]
            for kind, text in task[1:]:
                yield f"    {text}" if kind == "call" else f"  * {kind}: {text}"
        else:
            yield f"{task[0][1]} ({calls} calls)"
