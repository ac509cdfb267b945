"""The hold: while it lies in `releases/hold.json`, no update starts by itself.

What a person asks for is done all the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from surefoot import durable, stored
from surefoot.errors import DamagedError
from surefoot.stored import Moment
from surefoot.update.history import History
from surefoot.update.lock import new_id

if TYPE_CHECKING:
    from surefoot.home import Home


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Who has put it there, and why."""

    at: Moment
    by: str = ""
    reason: str = ""


def held(home: Home) -> Hold | None:
    """The hold; None where there is none. One that cannot be read holds as well."""
    try:
        return stored.load(home.hold, Hold)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        return Hold(at=datetime.fromtimestamp(0, UTC), reason=error.message)


def place(home: Home, *, by: str, reason: str = "") -> Hold:
    """Holds from now on; takes the place of an earlier hold. It outlives every restart."""
    hold = Hold(at=datetime.now(UTC), by=by, reason=reason)
    _tell(home, "hold_placed", f"Updates are held by {by}. {reason}".strip(), by, reason=reason)
    durable.make_folder(home.hold.parent)
    durable.write(home.hold, msgspec.json.encode(hold))
    return hold


def release(home: Home, *, by: str) -> bool:
    """Updates start by themselves again, where they are to; False where nothing held them."""
    if held(home) is None:
        return False
    durable.remove(home.hold)
    _tell(home, "hold_released", f"The hold is released by {by}.", by)
    return True


def _tell(home: Home, event: str, text: str, by: str, **facts: str) -> None:
    History(home).append(new_id(), event, text, lasting=True, by=by, **facts)
