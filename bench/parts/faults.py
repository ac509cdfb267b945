"""What becomes of bad releases, and of updates that are killed: whole by itself within a minute?

Whole is an app that is healthy, serves a release that is good, takes a new note, and has every
note that it has ever acknowledged. Nobody helps: after a kill of everything, as when the power
goes, there is one boot. The moments of the kills come from fixed seeds.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.contenders import CONTENDERS, LIMIT
from bench.contenders.base import FailedError
from bench.contenders.surefoot import Overlap
from bench.effort import Effort
from bench.results import Figures
from bench.seen import Visitors
from bench.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.contenders import Contender
    from bench.results import Row

WITHIN_S = 60.0
LASTING_S = 5.0
"""So long it must be whole: some releases crash only after a while."""
RATE = 10
KILLS = 4
"""In each of the homes of a contender."""
KILLED = "killed at a random moment"
BAD: dict[str, Callable[[Source], str]] = {
    "crashes at its start": Source.crashing,
    "health answers 500": Source.sick,
    "dependency cannot be installed": Source.uninstallable,
    "migration fails half way": Source.half_migrated,
    "starts slowly, and is good": Source.slow,
}
HOMES = (tuple(BAD)[:2], tuple(BAD)[2:])
"""Which bad releases come to which of a contender's homes."""


@dataclass(frozen=True)
class Ending:
    """What came of one update that met with a fault."""

    whole: bool
    seconds: float
    lost_rows: int


def measure(folder: Path, *, effort: Effort, only: Sequence[str] = ()) -> list[Row]:
    """A quick run is one bad release and one kill for each."""
    quick = effort is Effort.QUICK
    figures, adding = Figures(), threading.Lock()
    base = Source(folder / "source")
    homes = [
        Home(kind, folder / f"{kind.name}-{number}", base, names[:1] if quick else names, number)
        for kind in CONTENDERS
        if kind not in {LIMIT, Overlap} and (not only or kind.name in only)
        for number, names in enumerate(HOMES[:1] if quick else HOMES)
    ]

    def run(home: Home) -> None:
        for scenario, ending in home.endings(effort.repeats(KILLS)):
            with adding:
                who = home.kind.name
                figures.add(who, scenario, "whole_within_60_s", "share", float(ending.whole))
                figures.add(who, scenario, "lost_rows", "rows", ending.lost_rows)
                if ending.whole:
                    figures.add(who, scenario, "until_whole", "s", ending.seconds)
                print(f"  {who}, {scenario}: {ending}", flush=True)

    with ThreadPoolExecutor(len(homes)) as pool:
        list(pool.map(run, homes))
    return figures.rows()


class Home:
    """One contender and its own remote; faults come one after the other."""

    def __init__(
        self, kind: type[Contender], folder: Path, base: Source, bad: tuple[str, ...], seed: int
    ) -> None:
        self.kind = kind
        self._folder = folder
        self._base = base
        self._bad = bad
        self._random = random.Random(seed)
        self._number = 0

    def endings(self, kills: int) -> Iterator[tuple[str, Ending]]:
        """Meets every fault, in a home that is made anew whenever one has left it broken."""
        ending: Ending | None = None
        try:
            for name in (*self._bad, *[KILLED] * kills):
                self._make_ready(ending)
                ending = self._be_killed() if name == KILLED else self._meet(BAD[name])
                yield name, ending
        finally:
            self._contender.stop()

    def _set_up(self) -> None:
        self._number += 1
        folder = self._folder.with_name(f"{self._folder.name}-{self._number}")
        folder.mkdir()
        self._source = Source(folder / "source", self._base)
        self._contender = self.kind(folder / "home", self._source)
        self._contender.install()
        self._contender.start()
        self._contender.wait_for(self._source.version(self._source.latest))
        began_s = time.monotonic()
        self._update_well(self._source.whole())
        self._update_s = time.monotonic() - began_s

    def _make_ready(self, ending: Ending | None) -> None:
        """For the next fault; `ending` is that of the one before."""
        if ending and ending.whole:
            with contextlib.suppress(FailedError):
                self._update_well(self._source.code())
                return
        if ending:
            self._contender.stop()
            shutil.rmtree(self._contender.folder)
        self._set_up()

    def _update_well(self, tag: str) -> None:
        self._contender.update()
        self._contender.wait_for(self._source.version(tag))
        self._contender.settle()

    def _meet(self, release: Callable[[Source], str]) -> Ending:
        """A bad release comes."""
        before = self._source.latest
        with Visitors(self._contender.port, RATE) as visitors:
            time.sleep(1)
            tag = release(self._source)
            good = {self._source.version(name) for name in (before, tag) if name.startswith("v")}
            updating = self._begin()
            whole, seconds = self._wait(updating, good)
        updating.join()
        return self._ending(visitors, whole, seconds)

    def _be_killed(self) -> Ending:
        """Everything is killed at a random moment of a good update, and booted again."""
        before = self._source.latest
        with Visitors(self._contender.port, RATE) as visitors:
            time.sleep(1)
            tag = self._source.whole()
            updating = self._begin()
            time.sleep(self._random.uniform(0, self._update_s))
            self._contender.kill()
            updating.join()
            self._contender.start()
            good = {self._source.version(before), self._source.version(tag)}
            whole, seconds = self._wait(None, good)
        return self._ending(visitors, whole, seconds)

    def _begin(self) -> threading.Thread:
        def update() -> None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._contender.update()

        thread = threading.Thread(target=update)
        thread.start()
        return thread

    def _wait(self, updating: threading.Thread | None, good: set[str]) -> tuple[bool, float]:
        """Whether it became whole, and stayed it; and how long that took."""
        began_s = time.monotonic()
        since_s: float | None = None
        while (now_s := time.monotonic()) < began_s + WITHIN_S + LASTING_S:
            if updating and updating.is_alive():
                since_s = None  # it is not over
            elif not self._is_whole(good):
                since_s = None
            else:
                since_s = since_s or now_s
                if since_s > began_s + WITHIN_S:
                    break
                if now_s > since_s + LASTING_S:
                    return True, since_s - began_s
            time.sleep(0.3)
        return False, time.monotonic() - began_s

    def _is_whole(self, good: set[str]) -> bool:
        contender = self._contender
        if contender.version() not in good or not contender.is_healthy():
            return False
        return contender.ask("/api/notes", "a note")[0] == 201

    def _ending(self, visitors: Visitors, whole: bool, seconds: float) -> Ending:
        try:
            lost = len(set(visitors.seen.acknowledged) - self._contender.notes())
        except sqlite3.Error:  # no database that can be read
            lost = len(visitors.seen.acknowledged)
        return Ending(whole and not lost, seconds, lost)
