"""What visitors saw of an update."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench import load
from bench.contenders.base import ROOT

if TYPE_CHECKING:
    from types import TracebackType

SLOW_S = 1.0


@dataclass(frozen=True)
class Fate:
    """What came of one request. Times are those of the monotonic clock."""

    due_s: float
    known_s: float
    what: str
    kept: bool

    @property
    def waited_s(self) -> float:
        return self.known_s - self.due_s


@dataclass
class Seen:
    """Everything that the visitors were answered."""

    fates: list[Fate]
    acknowledged: list[str]
    generator_share: float
    """Of one core, that asking took."""

    def count(self, *what: str, kept: bool | None = None) -> int:
        return sum(fate.what in what for fate in self.fates if kept is None or fate.kept is kept)

    def failed(self, *, kept: bool | None = None) -> int:
        """Requests that did not get what they asked for, for whatever reason."""
        everything = (load.REFUSED, load.RESET, load.ERROR, load.TIMEOUT, load.TURNED_AWAY)
        return self.count(*everything, kept=kept)

    @property
    def good(self) -> list[Fate]:
        return sorted(
            (fate for fate in self.fates if fate.what == load.OK), key=lambda fate: fate.known_s
        )

    @property
    def longest_gap_s(self) -> float:
        """The longest time in which nobody got a good answer."""
        ends = [fate.known_s for fate in self.good]
        return max((b - a for a, b in itertools.pairwise(ends)), default=0.0)

    @property
    def longest_wait_s(self) -> float:
        """The longest that somebody waited for a good answer."""
        return max((fate.waited_s for fate in self.good), default=0.0)

    def usual_wait_s(self, before_s: float) -> float:
        """The longest that somebody waited before that moment, when all was quiet."""
        return max((f.waited_s for f in self.good if f.known_s < before_s), default=0.0)

    def first_good_after(self, moment_s: float) -> float | None:
        """When the first request was answered well that was made after that moment, or waited."""
        return next((f.known_s for f in self.good if f.known_s > moment_s), None)

    @property
    def slow(self) -> int:
        return sum(fate.waited_s > SLOW_S for fate in self.good)


@dataclass
class Visitors:
    """The load on one port, from `with` to its end; `seen` is there afterwards."""

    port: int
    rate: float
    seen: Seen = field(init=False)
    _out: Path = field(init=False)

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        self._out = Path(folder) / "seen.json"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "bench.load", "--port", str(self.port)),
                *("--rate", str(self.rate), "--out", str(self._out)),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        with self._stack:
            if self._process.stdin:
                self._process.stdin.close()
            try:
                code = self._process.wait(load.TIMEOUT_S + 10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise
            if kind is None:
                if code:
                    raise RuntimeError(f"The load generator ended with {code}.")
                found = json.loads(self._out.read_text())
                fates = [Fate(*fate) for fate in found["fates"]]
                self.seen = Seen(fates, found["acknowledged"], found["cpu_s"] / found["took_s"])


def now_s() -> float:
    """The clock of all fates."""
    return time.monotonic()
