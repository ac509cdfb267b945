"""What keeps updates from coming by themselves, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surefoot.cli.output import moment
from surefoot.update.permission import busy

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.reports import Automatic


def sentence(found: Automatic) -> str:
    """The report for a person."""
    if not found.enabled:
        return "off: an update comes when it is asked for"
    said = "on"
    if found.windows:
        said += f", in the windows {', '.join(found.windows)}"
        opens = f"the next opens {moment(found.opens_at)}" if found.opens_at else "one is open now"
        said += f"; {opens}"
    if found.busy is not None:
        said += f"; the app is busy{_with(found.busy)}"
    if found.postponed_since and found.postponed_until:
        said += (
            f"; put off since {moment(found.postponed_since)}, "
            f"until {moment(found.postponed_until)} at the latest"
        )
    return said


def busy_note(home: Home) -> str | None:
    """For somebody who asks for an update while the app is busy."""
    why = busy(home)
    if why is None:
        return None
    return f"The app is busy{_with(why)}; it is updated all the same."


def _with(what: str) -> str:
    return f" ({what})" if what else ""
