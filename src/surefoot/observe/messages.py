"""What administrators are told: a template for each event, in English and Chinese; pure."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

from surefoot.update import events
from surefoot.update.causes import Cause
from surefoot.update.states import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

URGENT = frozenset({"broken", "crashing"})
"""Are told at once, whatever the hour."""
LISTED = 20
"""Events that one message tells of; of more, their number."""
LONGEST_LINE, LONGEST_BODY = 700, 3000
"""Characters: what takes messages takes some thousand, and what an app prints has no end."""
LANGUAGES = ("en", "zh")
TEXTS: dict[str, dict[str, dict[str, str]]] = {
    language: tomllib.loads(
        (files("surefoot.observe") / "texts" / f"{language}.toml").read_text(encoding="utf-8")
    )
    for language in LANGUAGES
}


@dataclass(frozen=True)
class Message:
    """One message, of one event or of several."""

    title: str
    body: str
    urgent: bool = False


def message(found: Sequence[events.Event], *, app: str, host: str, language: str) -> Message:
    """Tells of these events, the oldest first; where they are too many, of the newest."""
    lines: list[str] = []
    room = LONGEST_BODY
    for event in reversed(found[-LISTED:]):
        line = _cut(told(event, language))
        room -= len(line)
        if lines and room < 0:
            break
        lines.insert(0, line)
    if left_out := len(found) - len(lines):
        lines.append(TEXTS[language]["words"]["more"].format(count=left_out))
    urgent = any(event.name in URGENT for event in found)
    return Message(f"{app} @ {host}", "\n".join(lines), urgent)


def told(event: events.Event, language: str) -> str:
    """One event in a sentence."""
    texts = TEXTS[language]
    words = texts["words"]
    facts = {"text": event.text, "window": "?", "ref": "", "to": "", "from_": "", "why": ""}
    for name in ("reason", "by", "release"):
        facts[name] = str(getattr(event, name, None) or "")
    facts["by"] = facts["by"] or words["somebody"]
    facts["kind"] = texts["kinds"].get(getattr(event, "kind", ""), texts["kinds"]["update"])
    if isinstance(event, events.Ended | events.Requested):
        facts["to"] = event.to or words["unknown"]
        facts["from_"] = event.from_ or words["unknown"]
        facts["ref"] = event.ref or facts["to"]
    if isinstance(event, events.Ended):
        if (window := event.durations.get("window")) is not None:
            facts["window"] = f"{window:.1f} s"
        if event.cause not in (None, Cause.UNKNOWN):
            facts["why"] = words["why"].format(cause=cause(event.cause, language))
    return _template(event, texts).format(**facts).strip()


def cause(found: Cause, language: str) -> str:
    """Why, in a few words."""
    return TEXTS[language]["causes"][found]


def _template(event: events.Event, texts: dict[str, dict[str, str]]) -> str:
    instead = ""
    match event:
        case events.Committed() if event.kind == "restore":
            instead = "restored_backup"
        case events.Committed() if event.kind == "rollback":
            instead = "went_back"
        case events.Committed() if event.from_ is None:
            instead = "installed"
        case events.Committed() if Step.TAKE_OVER in event.durations:
            instead = "committed_beside"
        case events.RolledBack() if not event.healthy:
            instead = "unhealthy"
        case events.Abandoned() if event.to is None and event.cause is Cause.SOURCE:
            instead = "source_failed"
    return texts["instead"][instead] if instead else texts["events"][event.name]


def _cut(line: str) -> str:
    """The line, or its beginning and its end: there an error says what it is."""
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} ... {line[-half:]}"


def quiet_until(now: datetime, quiet: str | None) -> datetime:
    """When the quiet hours that `now` falls into are over; `now` where it falls into none.

    `quiet` is such as `22:00-07:00`, in the zone of `now`.
    """
    if not quiet:
        return now
    begin, end = (time.fromisoformat(part.strip()) for part in quiet.split("-"))
    today = now.replace(second=0, microsecond=0)
    for day in (today - timedelta(days=1), today):
        begins = day.replace(hour=begin.hour, minute=begin.minute)
        ends = day.replace(hour=end.hour, minute=end.minute)
        if end <= begin:
            ends += timedelta(days=1)
        if begins <= now < ends:
            return ends
    return now
