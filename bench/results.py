"""Rows of figures, as they are kept in `bench/results`."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent / "results"
SHARE = "share"
PARTS = ("cutover", "staging", "faults", "database", "footprint")


@dataclass(frozen=True)
class Row:
    """One figure: the median and the worst of `n` repeats. Of a share, which each repeat either
    adds to or not, `median` is the share of all of them."""

    contender: str
    scenario: str
    metric: str
    unit: str
    median: float
    worst: float
    n: int


Key = tuple[str, str, str, str]


@dataclass
class Figures:
    """Collects what is measured. The order of the first entries is that of the rows."""

    _values: defaultdict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, contender: str, scenario: str, metric: str, unit: str, value: float) -> None:
        self._values[contender, scenario, metric, unit].append(value)

    def of(self, contender: str, scenario: str, metric: str) -> list[float]:
        """What has been measured so far."""
        return [
            value
            for (who, where, what, _), values in self._values.items()
            if (who, where, what) == (contender, scenario, metric)
            for value in values
        ]

    def rows(self) -> list[Row]:
        """The worst is the highest, but of a share the lowest."""
        return [
            Row(
                *key,
                median=_short((statistics.mean if key[3] == SHARE else statistics.median)(values)),
                worst=_short(min(values) if key[3] == SHARE else max(values)),
                n=len(values),
            )
            for key, values in self._values.items()
        ]


def _short(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)


def write(part: str, rows: Sequence[Row], folder: Path = FOLDER) -> None:
    """One row on each line, so that a change can be read."""
    folder.mkdir(exist_ok=True)
    lines = ",\n".join(f"  {json.dumps(asdict(row))}" for row in rows)
    (folder / f"{part}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def read(part: str, folder: Path = FOLDER) -> list[Row]:
    """Empty where it has not been measured."""
    path = folder / f"{part}.json"
    return [Row(**row) for row in json.loads(path.read_text())] if path.exists() else []


def write_machine(folder: Path = FOLDER) -> None:
    """What kind of machine this is, in plain words."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    told = {
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_gb:.0f} GB",
        "system": f"Linux {'.'.join(platform.release().split('.')[:2])}",
        "python": ".".join(platform.python_version_tuple()[:2]),
        "sqlite": sqlite3.sqlite_version,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    text = json.dumps(told, indent=2)
    (folder / "machine.json").write_text(f"{text}\n", encoding="utf-8")


def read_machine(folder: Path = FOLDER) -> dict[str, str]:
    """Empty where nothing has been measured."""
    path = folder / "machine.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}
