"""The last updates as bars: inline SVG, made by the server; the style sheet has the colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surefoot.dashboard.updates import Update
    from surefoot.dashboard.wording import Wording

WIDTH, HEIGHT = 320, 104
_LEFT, _TOP, _BOTTOM = 34, 6, 6
_WIDEST = 22.0
PLOTTED = ("committed", "rolled_back", "abandoned", "broken")
"""Outcomes of what took its time."""


@dataclass(frozen=True)
class Bar:
    value: float
    kind: str
    """A class of the style sheet."""
    title: str


@dataclass(frozen=True)
class Plot:
    title: str
    svg: str


def of_updates(t: Wording, lately: list[Update]) -> list[Plot]:
    """How long the app was away, and how long all of it took; `lately` has the newest first."""
    found = []
    for title, key, name in (
        ("plot_downtime", "downtime_s", "downtime"),
        ("plot_duration", "duration_s", "duration"),
    ):
        shown = [
            (update, value)
            for update in reversed(lately)
            if (value := getattr(update, key)) is not None and update.outcome in PLOTTED
        ]
        if len(shown) < 2:
            continue
        values = [value for _, value in shown]
        top = round_top(max(values))
        shown_bars = [
            Bar(
                value,
                update.outcome or "",
                f"{update.ref or update.to}: {t('outcome_' + (update.outcome or 'in_flight'))}, "
                f"{t(name)} {t.span(value)}",
            )
            for update, value in shown
        ]
        told = t("plot_told", n=len(shown), last=t.span(values[-1]), most=t.span(max(values)))
        ticks = [(value, t.tick(value)) for value in (0.0, top / 2, top)]
        svg = bars(shown_bars, label=f"{t(title)}. {told}", ticks=ticks)
        found.append(Plot(t(title), svg))
    return found


def bars(found: Sequence[Bar], *, label: str, ticks: Sequence[tuple[float, str]]) -> Markup:
    """The bars from left to right; `label` says the same in a sentence, `ticks` are the values at
    the side, the last of them the top."""
    top = ticks[-1][0]
    height = HEIGHT - _TOP - _BOTTOM
    parts = [
        Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, label
        )
    ]
    for value, text in ticks:
        y = round(_TOP + height * (1 - value / top), 1)
        parts.append(
            Markup(
                '<line x1="{}" x2="{}" y1="{}" y2="{}"/>'
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(_LEFT, WIDTH, y, y, _LEFT - 6, y + 3, text)
        )
    step = (WIDTH - _LEFT) / max(len(found), 12)
    width = min(step * 0.68, _WIDEST)
    for number, bar in enumerate(found):
        size = max(height * min(bar.value / top, 1), 1.5)
        x = _LEFT + step * (number + 0.5) - width / 2
        parts.append(
            Markup(
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2">'
                "<title>{}</title></rect>"
            ).format(bar.kind, x, _TOP + height - size, width, size, bar.title)
        )
    return Markup("").join([*parts, Markup("</svg>")])


def round_top(highest: float) -> float:
    """The least of 1, 2 and 5 with zeros that is not below."""
    if highest <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(highest))
    return next(size * m for m in (1, 2, 5, 10) if size * m >= highest * 0.999)
