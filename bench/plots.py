"""The pictures in `bench/results`, made from its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import results, words
from bench.contenders import CONTENDERS

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from bench.results import Row

ORDER = (*(kind.name for kind in CONTENDERS), *words.OTHERS)
COLOURS = {
    "surefoot": "#1b7f4d", "surefoot_overlap": "#63b98a", "published": "#b5532b",
    "script": "#8a6d3b", "supervisord": "#c4a35a", "symlink": "#5a7fb5", "restart": "#777777",
    "fresh_pip": "#b5532b", "fresh_uv": "#5a7fb5", "copy2": "#b5532b", "backup_api": "#c4a35a",
    "vacuum_into": "#5a7fb5", "circus": "#c05f8f", "s6": "#444444",
}  # fmt: skip


def draw(folder: Path = results.FOLDER) -> None:
    """One SVG for each part that has been measured; the same rows give the same file."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {
        "svg.hashsalt": "surefoot", "svg.fonttype": "none", "font.family": "sans-serif",
        "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    }  # fmt: skip
    for part, (metric, scenarios, label, log) in _PLOTS.items():
        rows = [r for r in results.read(part, folder) if r.metric == metric]
        if rows:
            _draw(folder / f"{part}.svg", rows, scenarios, label, log=log)


_PLOTS = {
    "cutover": (
        "longest_gap",
        ("code", "dependency", "migration", "rollback"),
        "longest gap without a good answer, seconds",
        True,
    ),
    "staging": (
        "seconds",
        ("code", "one new dependency", "forty new dependencies", "code, 3,000 files"),
        "seconds to make a release ready",
        True,
    ),
    "faults": (
        "whole_within_60_s",
        (
            "crashes at its start",
            "health answers 500",
            "dependency cannot be installed",
            "migration fails half way",
            "killed at a random moment",
        ),
        "share that ends whole by itself",
        False,
    ),
    "database": (
        "downtime_added",
        ("50 MB", "1 GB", "4 GB"),
        "downtime added by being able to go back, seconds",
        True,
    ),
    "footprint": ("memory_pss", ("idle",), "memory of an idle supervisor, MB", True),
}


def _draw(
    path: Path, rows: list[Row], scenarios: tuple[str, ...], label: str, *, log: bool
) -> None:
    """Groups of bars, one bar for each contender; a line from the median to the worst."""
    from matplotlib import pyplot

    names = sorted({row.contender for row in rows}, key=ORDER.index)
    shown = [s for s in scenarios if any(row.scenario == s for row in rows)]
    figure, axes = pyplot.subplots(figsize=(8.6, 0.7 + 0.2 * len(shown) * (len(names) + 1.5)))
    found = {(row.contender, row.scenario): row for row in rows}
    for place, name in enumerate(names):
        _bars(axes, place, name, [found.get((name, s)) for s in shown], len(names) + 1.5)
    centres = [(len(names) - 1) / 2 + i * (len(names) + 1.5) for i in range(len(shown))]
    axes.set_yticks(centres, shown)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    if log:
        axes.set_xscale("log")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.set_layout_engine("constrained")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _bars(axes: Axes, place: int, name: str, rows: list[Row | None], step: float) -> None:
    label: str | None = name
    for number, row in enumerate(rows):
        if row is None:
            continue
        y = place + number * step
        axes.barh(y, row.median, color=COLOURS.get(name, "#999999"), label=label, height=0.9)
        if row.worst > row.median:
            axes.plot([row.median, row.worst], [y, y], color="#222222", linewidth=1)
        label = None
