"""Strikes at instants of real updates, and tells what became of each.

python -m tests.crash.sweep                  every case, and a table
python -m tests.crash.sweep --sample 20      an even sample, by a seed that is printed
python -m tests.crash.sweep --log FILE       begun again with the same file, it goes on where it was
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from tests.crash.cases import Case, again, baseline, run
from tests.crash.injection import Dies, Instant, in_recovery
from tests.crash.place import Place, why_not
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.crash.table import Table
from tests.crash.verdict import Verdict
from tests.databases.postgresql_server import running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def sample(cases: list[Case], size: int, seed: int) -> list[Case]:
    """An even one: the same step from case to case, from a start that the seed chooses."""
    if size >= len(cases):
        return cases
    step = len(cases) / size
    start = random.Random(seed).uniform(0, step)
    return [cases[int(start + i * step) % len(cases)] for i in range(size)]


def sweep(places: list[Place], cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
    """Each in a place of its own, as many at a time as there are places. The first place has the
    copies of the home, so what begins with one is done there, before anything else."""
    of_first: SimpleQueue[Case] = SimpleQueue()
    of_all: SimpleQueue[Case] = SimpleQueue()
    done: SimpleQueue[tuple[Case, Verdict] | BaseException] = SimpleQueue()
    for case in cases:
        (of_all if case.state is None else of_first).put(case)
    number = of_first.qsize() + of_all.qsize()

    def work(place: Place, queues: list[SimpleQueue[Case]]) -> None:
        for queue in queues:
            while True:
                try:
                    case = queue.get_nowait()
                    done.put((case, run(place, case)))
                except Empty:
                    break
                except BaseException as error:  # raised where it is waited for
                    done.put(error)
                    return

    workers = []
    for place in places:
        queues = [of_first, of_all] if place is places[0] else [of_all]
        workers.append(Thread(target=work, args=(place, queues)))
        workers[-1].start()
    try:
        for _ in range(number):
            match done.get():
                case BaseException() as error:
                    raise error
                case found:
                    yield found
    finally:  # what has begun comes to its end, so that nothing is left running
        for queue in (of_first, of_all):
            with contextlib.suppress(Empty):
                while True:
                    queue.get_nowait()
        for worker in workers:
            worker.join()


class Log:
    """In a file: the cases of each update, as they were recorded, and a line for each that was
    struck. What is there is not done again."""

    def __init__(self, file: str | None) -> None:
        self.file = Path(file) if file else None
        self.cases: dict[str, list[dict[str, Any]]] = {}
        self.known: dict[str, dict[str, Any]] = {}
        if self.file and self.file.exists():
            for line in self.file.read_text(encoding="utf-8").splitlines():
                known = json.loads(line)
                if "cases" in known:
                    self.cases[known["of"]] = known["cases"]
                else:
                    self.known[known.pop("case")] = known

    def baseline(self, place: Place, scenario: Scenario, kind: str) -> list[Case]:
        """The cases, recorded now or, where it is gone on with, at its beginning."""
        of = f"{scenario.name}: {kind}"
        if (found := self.cases.get(of)) is not None:
            cases = [_case(scenario, facts) for facts in found]
            left = again(place, scenario, [case for case in cases if case.key not in self.known])
            by_key = {case.key: case for case in left}
            return [by_key.get(case.key, case) for case in cases]
        cases = baseline(place, scenario, kind)
        self._write({"of": of, "cases": [_facts(case) for case in cases]})
        return cases

    def add(self, case: Case, verdict: Verdict) -> None:
        self._write({"case": case.key, **asdict(verdict)})

    def _write(self, facts: dict[str, Any]) -> None:
        if self.file:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")

    def take(self, cases: list[Case], table: Table) -> list[Case]:
        """Counts what is known; returns the others."""
        for case in cases:
            if (known := self.known.get(case.key)) is not None:
                table.count(case, Verdict(**known))
        return [case for case in cases if case.key not in self.known]


def _facts(case: Case) -> dict[str, Any]:
    return {"instant": asdict(case.instant), "state": case.state, "instants": case.instants}


def _case(scenario: Scenario, facts: dict[str, Any]) -> Case:
    instant = Instant(**{**facts["instant"], "dies": Dies(facts["instant"]["dies"])})
    return Case(scenario, instant, state=facts["state"], instants=facts["instants"])


def main() -> int:
    options = _options()
    if why := why_not():
        sys.stdout.write(f"The crash test cannot be run: {why}.\n")
        return 2
    # Ended from outside, it leaves no app behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    chosen = [s for s in SCENARIOS.values() if options.only in s.name]
    table, log = Table(), Log(options.log)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="surefoot-crash-") as folder:
        for size_mb, mode in sorted({(s.size_mb, s.mode) for s in chosen}):
            fitting = [s for s in chosen if (s.size_mb, s.mode) == (size_mb, mode)]
            with contextlib.ExitStack() as stack:
                server = stack.enter_context(running()) if mode == "postgresql" else None
                places = []
                for job in range(options.jobs):
                    where = Path(folder).resolve() / f"{size_mb}-{mode}-{job}"
                    places.append(Place(where, size_mb=size_mb, mode=mode, server=server))
                    stack.callback(places[-1].kill)
                for scenario in fitting:
                    _swept(places, scenario, options, seed, table, log)
    sys.stdout.write(f"{table}\n")
    for violation in table.violations:
        sys.stdout.write(f"VIOLATED: {violation}\n")
    return 1 if table.violations else 0


def _swept(
    places: list[Place],
    scenario: Scenario,
    options: argparse.Namespace,
    seed: int,
    table: Table,
    log: Log,
) -> None:
    every = log.baseline(places[0], scenario, options.kind)
    cases = _chosen(every, options, seed)
    left = log.take(cases, table)
    sys.stdout.write(
        f"{scenario.name}: {sum(c.instants for c in every)} instants, of which {len(every)} leave "
        f"something else behind; {len(left)} of {len(cases)} cases to do, seed {seed}.\n"
    )
    begin = time.monotonic()
    for number, (case, verdict) in enumerate(sweep(places, left), 1):
        table.count(case, verdict)
        log.add(case, verdict)
        if verdict.problems:
            sys.stdout.write(f"VIOLATED: {case}: {'; '.join(verdict.problems)}\n")
        if number % 20 == 0:
            sys.stdout.write(f"{number} of {len(left)}, {time.monotonic() - begin:.0f} s\n")
        sys.stdout.flush()


def _chosen(cases: list[Case], options: argparse.Namespace, seed: int) -> list[Case]:
    if options.twice:
        cases = [replace(c, second=_second(c, seed)) for c in cases]
    return sample(cases, options.sample or len(cases), seed)


def _second(case: Case, seed: int) -> Instant:
    """From a copy, the first engine that is started is the one that recovers."""
    return in_recovery(case.instant, f"{seed} {case}", 2 if case.state is None else 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sample", type=int, default=0, help="how many cases of each update; else all"
    )
    parser.add_argument("--seed", type=int, help="chooses the sample")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument(
        "--twice", action="store_true", help="strike a second time, in the recovery from the first"
    )
    parser.add_argument("--only", default="", help="part of a scenario's name")
    parser.add_argument("--kind", default="", help="part of an instant's kind")
    parser.add_argument("--folder", help="where the homes are made, e.g. /dev/shm")
    parser.add_argument("--log", help="a file that gets a line for each case, and is gone on with")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
