"""Allowing a denied release again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from surefoot.errors import RefusedError
from surefoot.update import remembered
from surefoot.update.history import History
from surefoot.update.lock import new_id, only_engine

if TYPE_CHECKING:
    from surefoot.home import Home

PATIENCE_S = 2.0


def allow(home: Home, release: str, *, by: str) -> None:
    """The release may come by itself again.

    Raises RefusedError where it is not denied, or while the engine is at work.
    """
    if release not in remembered.seen_ledger(home)[0].denied:
        raise RefusedError(
            f"Release {release[:100]} is not denied.",
            next_step="`surefoot status` lists those that are.",
        )
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with only_engine(home):
                remembered.ledger(home).forgive(release)
            break
        except RefusedError:
            if time.monotonic() > deadline:
                raise RefusedError(
                    "An update is in flight, or its release is still being watched. Nothing was "
                    "changed.",
                    next_step="Try again when it has ended.",
                ) from None
            time.sleep(0.05)
    text = f"Release {release} is allowed again by {by}."
    History(home).append(new_id(), "allowed", text, lasting=True, by=by, release=release)
