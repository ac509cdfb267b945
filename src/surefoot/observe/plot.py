"""The last updates as an image for a report: where their time went, and how long the app was away.

Drawn without a display, and without anything of matplotlib's that lives on after the call.
"""

from __future__ import annotations

import io
import warnings
from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.patches import Patch

from surefoot.update.states import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from surefoot.update.events import Ended

Format = Literal["svg", "png"]

OUTCOMES = {
    "committed": "#1c7a46",
    "rolled_back": "#d55e00",
    "abandoned": "#7a7a7a",
    "broken": "#8b0000",
}
_BESIDE = {Step.STAGE: "#9ec5e8", Step.OVERLAP: "#3b6fb5", Step.TAKE_OVER: "#12355b"}
_CUTOVER = {
    Step.STOP: "#12355b",
    Step.SNAPSHOT: "#3b6fb5",
    Step.MIGRATE: "#e69f00",
    Step.SWITCH: "#f0e442",
    Step.START: "#56b4a0",
    Step.JUDGE: "#b8e0d2",
    Step.OPEN: "#cccccc",
    Step.PUT_BACK: "#d55e00",
    Step.RESUME_OLD: "#f4b183",
}
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Micro Hei")
"""The first comes with matplotlib; of the others those that are there, for Chinese names."""
_SLOTS = 10
"""Room for so many bars at least: a single one is not as wide as the image."""
_LABELS = 50
"""So many updates are named below the bars; of more, each second or third and so on."""
_LONGEST_NAME = 20
_WIDTH_IN = (8.0, 40.0)
_DPI = 150


def drawn(updates: Sequence[Ended], form: Format) -> bytes:
    """The image of one update or more, in the order given. Durations are in seconds."""
    there = set(fontManager.get_font_names())
    style: dict[Any, Any] = {
        "font.family": [name for name in _FONTS if name in there],
        "font.size": 9,
        "svg.fonttype": "none",
        "text.parse_math": False,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing")  # a tag may be in any script
        figure = _figure(updates)
        image = io.BytesIO()
        figure.savefig(image, format=form, dpi=_DPI)
    return image.getvalue()


def _figure(updates: Sequence[Ended]) -> Figure:
    narrowest, widest = _WIDTH_IN
    width = min(max(narrowest, 3 + 0.3 * len(updates)), widest)
    figure = Figure(figsize=(width, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    beside, cutover, downtime = figure.subplots(3, sharex=True)
    first, last = (f"{update.at.astimezone(UTC):%Y-%m-%d}" for update in (updates[0], updates[-1]))
    days = first if first == last else f"{first} to {last}"
    figure.suptitle(f"Surefoot: {_count(len(updates))}, {days}", fontsize=12)
    _stack(beside, updates, _BESIDE, "Staging, while the old release serves")
    _stack(cutover, updates, _CUTOVER, "Cutover by step, and going back")
    _downtime(downtime, updates)
    return figure


def _stack(axes: Axes, updates: Sequence[Ended], colours: dict[Step, str], title: str) -> None:
    below = [0.0] * len(updates)
    for step, colour in colours.items():
        spent = [_seconds(update, step) for update in updates]
        if any(spent):
            bars = axes.bar(range(len(updates)), spent, bottom=below, color=colour)
            bars.set_label(step.replace("_", " "))
            below = [a + b for a, b in zip(below, spent, strict=True)]
    _dress(axes, title, "duration (s)")
    if any(below):
        handles, labels = axes.get_legend_handles_labels()
        _legend(axes, handles[::-1], labels[::-1])


def _downtime(axes: Axes, updates: Sequence[Ended]) -> None:
    colours = [OUTCOMES.get(update.name, "black") for update in updates]
    away = [_seconds(update, "window") for update in updates]
    for bar, update in zip(
        axes.bar(range(len(updates)), away, color=colours), updates, strict=True
    ):
        bar.set_gid(f"downtime-{update.update}")
        if Step.STOP in update.durations and "window" not in update.durations:
            middle = bar.get_x() + bar.get_width() / 2
            axes.text(middle, 0, "?", ha="center", va="bottom")  # an older Surefoot did not say
    _dress(axes, "Downtime: how long the app was away", "downtime (s)")
    every = -(-len(updates) // _LABELS)
    shown = range(0, len(updates), every)
    names = axes.set_xticks(shown, [_name(updates[i]) for i in shown], rotation=90, ma="right")
    for tick, i in zip(names, shown, strict=True):
        tick.label1.set_color(colours[i])
    axes.set_xlim(-0.6, max(len(updates), _SLOTS) - 0.4)
    axes.set_xlabel("update: release, and when it ended (UTC)")
    there = {update.name for update in updates}
    patches = [Patch(color=colour) for name, colour in OUTCOMES.items() if name in there]
    _legend(axes, patches, [name.replace("_", " ") for name in OUTCOMES if name in there])


def _dress(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_ylabel(unit)
    axes.use_sticky_edges = False  # or there is no room above a stack
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _name(update: Ended) -> str:
    name = update.ref or update.to or "?"
    name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return f"{name}\n{update.at.astimezone(UTC):%m-%d %H:%M}"


def _seconds(update: Ended, name: str) -> float:
    """0 where it is not known, or where a damaged line says what cannot be."""
    seconds = update.durations.get(name, 0.0)
    return seconds if 0 < seconds < 1e9 else 0.0


def _count(number: int) -> str:
    return "1 update" if number == 1 else f"the last {number} updates"
