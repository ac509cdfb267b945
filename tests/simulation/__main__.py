"""`make simulate`: explores every placement of faults, or replays one history.

    python -m tests.simulation                        every scenario, up to three faults
    python -m tests.simulation --faults 2 --scenario rollback
    python -m tests.simulation --replay unhealthy,kill-engine@57,power-1@21

Ends with 1 where a promise was broken. Nothing is random: the string it prints is all it takes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from typing import TYPE_CHECKING

from tests.simulation.explore import Exploration, Result
from tests.simulation.replay import replay, told
from tests.simulation.scenarios import SCENARIOS, named

if TYPE_CHECKING:
    from collections.abc import Iterable


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--faults", type=int, default=3, help="how many in one history (3)")
    parser.add_argument("--scenario", action="append", default=[], choices=list(SCENARIOS))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", metavar="HISTORY", help="a history, as a violation names it")
    parser.add_argument("--full", action="store_true", help="replay: every call, not only some")
    options = parser.parse_args(arguments)
    if options.replay:
        return _replay(options.replay, full=options.full)
    begin = time.monotonic()
    jobs = [(scenario.name, options.faults) for scenario in named(options.scenario)]
    with multiprocessing.Pool(options.workers, maxtasksperchild=1) as pool:
        results = _told(pool.imap_unordered(_explore, jobs, chunksize=1))
    violations = sum(len(result.found) for result in results)
    _say(
        f"{sum(result.histories for result in results):,} distinct histories of up to "
        f"{options.faults} faults, {violations} violations; "
        f"{sum(result.placements for result in results):,} placements of a fault tried, "
        f"{sum(result.calls for result in results):,} calls, {time.monotonic() - begin:.0f} s."
    )
    return 1 if violations else 0


def _explore(job: tuple[str, int]) -> Result:
    name, faults = job
    return Exploration(SCENARIOS[name], faults).run()


def _told(results: Iterable[Result]) -> list[Result]:
    """Says what was found as it comes."""
    done = []
    for result in results:
        done.append(result)
        _say(f"{result.histories:>9,} histories  {len(result.found)} violations  {result.scenario}")
        for found in result.found:
            _say(f"\n{found.rule}: {found.text}\n")
            _replay(found.replay, full=False)
            _say(f"\nAgain, with every call: python -m tests.simulation --full --replay "
                 f"{found.replay}\n")  # fmt: skip
    return done


def _replay(history: str, *, full: bool) -> int:
    lines, violation = replay(history)
    for line in told(lines, full=full):
        _say(line)
    if violation is None:
        _say("Every promise was kept.")
    return 0 if violation is None else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
