"""May an update begin by itself now? Not while it is held, not outside of the windows, and not
while the app is busy.

What a person or the app asks for is not put off. The app's veto has a deadline, counted from the
first time that an update was put off after the last one that came.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from surefoot.config import windows
from surefoot.errors import StageError, SurefootError
from surefoot.update.history import History
from surefoot.update.hold import held
from surefoot.update.lock import new_id

if TYPE_CHECKING:
    from surefoot.config import Update
    from surefoot.home import Home

PATIENCE_S = 60.0
"""How long a release that is ready waits for the app, before it is given up until next time."""
_LOOK_EVERY_S = 0.2
_UPDATED = frozenset({"committed", "rolled_back", "broken"})


@dataclass(frozen=True)
class Permission:
    """Asked by the engine; the answer may be different at every moment."""

    home: Home
    settings: Update

    def opens_at(self, now: datetime) -> datetime | None:
        """When the next window begins; None while one is open, or where there are none."""
        found, zone = [windows.parse(text) for text in self.settings.windows], self.settings.zone()
        return None if windows.is_open(found, now, zone) else windows.next_opening(found, now, zone)

    def may_begin(self) -> bool:
        """The first time that the app's veto counts, the history says so."""
        if held(self.home) or self.opens_at(datetime.now(UTC)) is not None:
            return False
        why = self.veto()
        if why is None:
            self.home.postponed.unlink(missing_ok=True)
            return True
        if self.postponed_since() is None:
            text = f"An update was put off, the app is busy{why and f': {why}'}."
            History(self.home).append(new_id(), "postponed", text, lasting=True, reason=why)
        self.home.postponed.touch()
        return False

    def wait(self) -> None:
        """Returns when the app may be stopped. Raises StageError if it goes on being busy."""
        end_s = time.monotonic() + PATIENCE_S
        while self.veto() is not None:
            if time.monotonic() > end_s:
                self.may_begin()
                raise StageError(
                    "The release is ready, but the app is busy. It is tried again by itself."
                )
            time.sleep(_LOOK_EVERY_S)

    def veto(self) -> str | None:
        """What the app says that it is busy with, as long as that counts."""
        why = busy(self.home)
        since = self.postponed_since() if why is not None else None
        deadline = timedelta(seconds=self.settings.busy_deadline_s)
        return None if since and datetime.now(UTC) - since > deadline else why

    def postponed_since(self) -> datetime | None:
        """Since when an update has been put off; None where none is, or nobody knows any more."""
        since = None
        with contextlib.suppress(SurefootError):
            for event in History(self.home).newest():
                if event.event in _UPDATED:
                    break
                if event.event == "postponed":
                    since = event.at
        return since


def busy(home: Home) -> str | None:
    """What a process of the app says that it is busy with; None where none is."""
    try:
        descriptor = os.open(home.busy, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return os.read(descriptor, 1000).decode(errors="replace").strip()
    finally:
        os.close(descriptor)
    return None
