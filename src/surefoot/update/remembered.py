"""The ledger as the history remembers it, for the day on which the ledger is lost.

The ledger says what may be gone back to and what must not be tried again. Every line of it began
as an event, so it can be written anew; what the events of older Surefoots do not say stays empty.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from surefoot.errors import DamagedError, SurefootError
from surefoot.releases.ledger import Content, Ledger
from surefoot.update.causes import Cause
from surefoot.update.history import History

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.update.history import Event


def ledger(home: Home) -> Ledger:
    """The ledger, for the engine: one that cannot be read is put aside and written anew."""
    return Ledger.load(home.ledger, now=datetime.now(UTC), lost=lambda: _content(home))


def seen_ledger(home: Home) -> tuple[Ledger, str]:
    """The ledger, for whoever only looks, and what is wrong with it."""
    try:
        return Ledger.read(home.ledger), ""
    except FileNotFoundError:
        return Ledger(home.ledger, _content(home)), ""
    except DamagedError as error:
        why = f"{error.message} The next update writes it anew from the history."
        return Ledger(home.ledger, _content(home)), why


def _content(home: Home) -> Content:
    content = Content()
    try:
        for event in History(home).read():
            content = _after(content, event)
    except SurefootError:
        return content  # the history is lost as well: nothing is known
    return content


def _after(content: Content, event: Event) -> Content:
    facts = event.facts
    origin, target = _release(facts.get("from")), _release(facts.get("to"))
    reason = str(facts.get("reason") or event.text)
    if target is None:
        return content
    match event.event:
        case "committed":
            content = content.committed(target, event.at, _schemas(facts.get("schemas")))
            if facts.get("kind") == "rollback" and origin:
                content = content.with_denial(origin, reason, event.at)
        case "rolled_back" if target != origin:
            content = content.with_denial(target, reason, event.at)
        case "abandoned" if facts.get("cause") == Cause.UNHEALTHY:  # beside the old one
            content = content.with_denial(target, reason, event.at)
        case "abandoned":
            content = content.with_abandoned(target)
    return content


def _release(value: Any) -> str | None:
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{7,64}", value) else None


def _schemas(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, str)}
