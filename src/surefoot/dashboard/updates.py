"""What the history tells of updates: each is made from its events, one after the other; pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from surefoot import stored
from surefoot.errors import DamagedError
from surefoot.reports.facts import durations as durations_of
from surefoot.reports.facts import text_or_none
from surefoot.update.history import FINAL, Event
from surefoot.update.states import Step

UPDATES = FINAL - {"up_to_date", "refused"}
"""Ends of what was an update, and not only a question."""


class Update(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One update, from what the history says of it."""

    id: str
    kind: str | None = None
    origin: str | None = None
    by: str | None = None
    """Who asked for it in the dashboard."""
    from_: str | None = None
    from_ref: str | None = None
    to: str | None = None
    ref: str | None = None
    begun_at: datetime
    ended_at: datetime | None = None
    outcome: str | None = None
    """`committed`, `rolled_back`, `abandoned`, `broken`, `refused` or `up_to_date`; None while it
    is in flight."""
    cause: str | None = None
    """Why it did not come to a commit, or was taken back, in a word of a closed list."""
    reason: str | None = None
    held: bool = False
    """Whether it was held for a person to agree to what its migration does."""
    duration_s: float | None = None
    """From the request to the end."""
    downtime_s: float | None = None
    """From the moment at which the app was asked to stop, until the gate was open again."""
    durations: dict[str, float] = {}
    """Seconds by step."""
    staged_at: datetime | None = None

    @property
    def is_real(self) -> bool:
        """Whether there was anything to be done."""
        return self.outcome in UPDATES or (self.outcome is None and self.to is not None)


class TableChange(msgspec.Struct, frozen=True, kw_only=True):
    """A table before a migration and after it."""

    table: str
    rows_before: int | None = None
    rows_after: int | None = None
    columns_gone: list[str] = []
    is_gone: bool = False
    renamed_to: str = ""

    @property
    def is_none(self) -> bool:
        """Whether nothing has changed."""
        is_there = not (self.is_gone or self.renamed_to or self.columns_gone)
        return is_there and self.rows_before == self.rows_after


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """A migration that was run on a copy."""

    database: str
    duration_s: float
    changes: list[TableChange]
    """Every table: first what has changed; of what has not, the first hundred."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One update in full."""

    update: Update
    events: list[Event]
    output: str
    """What the command that failed has printed, the end of it."""
    rehearsals: list[Rehearsed]


def told(events: list[Event], refs: dict[str, str]) -> Told:
    """One update in full: `events` is all that is known of it, at least one."""
    update = after(None, events[0], refs)
    for event in events[1:]:
        update = after(update, event, refs)
    outputs = [text for e in events if (text := text_or_none(e.facts.get("output")))]
    return Told(
        update=update,
        events=events,
        output=outputs[-1] if outputs else "",
        rehearsals=[found for event in events if (found := _rehearsed(event))],
    )


def after(update: Update | None, event: Event, refs: dict[str, str]) -> Update:
    """What is known of an update after one more event."""
    facts = event.facts
    if update is None:
        update = Update(id=event.update, begun_at=event.at)
    known: dict[str, Any] = {}
    for name, key in _FACTS.items():
        if (value := text_or_none(facts.get(key))) is not None:
            known[name] = value
    origin = known.get("from_", update.from_)
    if update.from_ref is None and origin in refs:
        known["from_ref"] = refs[origin]
    if event.event == "staged":
        known["staged_at"] = event.at
    if event.event == "held":
        known["held"] = True
    if event.event in FINAL and update.outcome is None:
        known |= _ended(update, event)
    return msgspec.structs.replace(update, **known)


_FACTS = {
    "kind": "kind",
    "origin": "origin",
    "by": "by",
    "from_": "from",
    "to": "to",
    "ref": "ref",
}


def _ended(update: Update, event: Event) -> dict[str, Any]:
    durations = durations_of(event.facts.get("durations"))
    downtime_s = durations.get("window")
    if downtime_s is None and event.event in {"committed", "rolled_back"}:
        if Step.TAKE_OVER in durations:
            downtime_s = 0.0
        elif update.staged_at is not None:  # an older Surefoot did not say
            downtime_s = (event.at - update.staged_at).total_seconds()
    return {
        "outcome": event.event,
        "ended_at": event.at,
        "cause": text_or_none(event.facts.get("cause")),
        "reason": text_or_none(event.facts.get("reason")) or None,
        "durations": durations,
        "duration_s": round((event.at - update.begun_at).total_seconds(), 3),
        "downtime_s": None if downtime_s is None else round(max(downtime_s, 0), 3),
    }


def _rehearsed(event: Event) -> Rehearsed | None:
    if event.event != "migration_rehearsed":
        return None
    try:
        return stored.convert(event.facts, Rehearsed, name="The event")  # type: ignore[no-any-return]
    except DamagedError:
        return None
