"""When updates may begin by themselves: days and hours on the clock of a place.

A window is written `02:00-05:00` (every day), `Mon-Fri 02:00-05:00` or `Sat,Sun 22:00-04:00`; the
day is the one on which it begins. It lasts from the one instant to the other: in the night in which
the clock is put forward a window may be shorter, and longer in the one in which it is put back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True)
class Window:
    """Minutes are counted from midnight; where `ends` is not after `begins`, it is the next day."""

    days: frozenset[int]
    begins: int
    ends: int

    @property
    def lasts(self) -> timedelta:
        """Where the clock is not changed meanwhile."""
        return timedelta(minutes=(self.ends - self.begins - 1) % _MINUTES_A_DAY + 1)


def parse(text: str) -> Window:
    """Raises ValueError with a sentence that says what is wrong."""
    found = re.fullmatch(r"(?:([A-Za-z, -]+) )?(\d\d):(\d\d) ?- ?(\d\d):(\d\d)", text.strip())
    if not found:
        raise ValueError(f"`{text}` is not a window.")
    begins, ends = (int(found[i]) * 60 + int(found[i + 1]) for i in (2, 4))
    if (
        begins >= _MINUTES_A_DAY
        or ends > _MINUTES_A_DAY
        or int(found[3]) > 59
        or int(found[5]) > 59
    ):
        raise ValueError(f"`{text}` names an hour that no clock shows.")
    return Window(_days(found[1] or "mon-sun"), begins, ends)


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in re.split(r"\s*,\s*", text.strip()):
        names = [name.strip()[:3].lower() for name in part.split("-")]
        if not 1 <= len(names) <= 2 or not set(names) <= set(_DAYS):
            raise ValueError(f"`{part}` is not a day of the week.")
        first, last = _DAYS.index(names[0]), _DAYS.index(names[-1])
        days |= {(first + i) % 7 for i in range((last - first) % 7 + 1)}
    return frozenset(days)


def is_open(windows: Sequence[Window], now: datetime, zone: tzinfo | None) -> bool:
    """Whether an update may begin at `now`; always, where there are no windows.

    `zone` None stands for the clock of this machine.
    """
    return not windows or any(begin <= now < end for begin, end in _around(windows, now, zone))


def next_opening(windows: Sequence[Window], now: datetime, zone: tzinfo | None) -> datetime | None:
    """When the next window begins after `now`, in UTC; None where there are no windows."""
    coming = (begin for begin, end in _around(windows, now, zone) if begin > now and end > begin)
    return min(coming, default=None)


def _around(
    windows: Sequence[Window], now: datetime, zone: tzinfo | None
) -> Iterator[tuple[datetime, datetime]]:
    """Where the windows of some days before and after lie, in UTC."""
    today = now.astimezone(zone).date()
    for days in range(-1, 9):
        day = today + timedelta(days=days)
        for window in windows:
            if day.weekday() in window.days:
                last = day + timedelta(days=window.ends <= window.begins)
                yield _instant(day, window.begins, zone, 0), _instant(last, window.ends, zone, 1)


def _instant(day: date, minutes: int, zone: tzinfo | None, fold: int) -> datetime:
    """An hour that there is twice stands for its first (fold 0) or its last; one that there is not,
    for what the clock shows instead."""
    day, minutes = day + timedelta(days=minutes // _MINUTES_A_DAY), minutes % _MINUTES_A_DAY
    clock = time(minutes // 60, minutes % 60, fold=fold)
    return datetime.combine(day, clock, tzinfo=zone).astimezone(UTC)
