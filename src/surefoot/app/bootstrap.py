"""The first line of an app's start: has it just been updated, or put back?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from surefoot.app import lockfile, surroundings

UPDATED_STATES = frozenset({"switched", "probation", "accepted", "committed"})
PUT_BACK_STATES = frozenset({"rolling_back", "restored", "rolled_back"})
UNTOUCHED_STATES = frozenset({"requested", "staged", "proven", "abandoned"})


@dataclass(frozen=True)
class BootstrapResult:
    """What has happened to the app since it last ran."""

    kind: Literal["none", "updated", "rolled_back", "unknown"]
    """`none`: a start like any other. `updated`: this is the new release, in probation.
    `rolled_back`: this is the old release again. `unknown`: the lock cannot be read."""
    from_release: str | None = None
    to_release: str | None = None
    ref: str | None = None
    reason: str = ""
    """Why it was rolled back, or what is wrong with the lock."""

    @property
    def message(self) -> str:
        """One sentence for a log or an administrator."""
        before, after = self.from_release or "nothing", self.ref or self.to_release or "?"
        match self.kind:
            case "none":
                return "No update is in flight."
            case "updated":
                return f"Updated from {before} to {after}."
            case "rolled_back":
                why = self.reason or "no reason is known"
                return f"The update to {after} was rolled back, {before} runs again: {why}"
            case "unknown":
                return f"What became of the update is not known: {self.reason}"


NOTHING = BootstrapResult("none")


def look_back() -> BootstrapResult:
    """Reads the lock. Never raises: a damaged lock does not keep an app from starting."""
    home = surroundings.home()
    if home is None:
        return NOTHING
    try:
        lock = lockfile.read(home)
    except lockfile.LockUnreadable as error:
        return BootstrapResult("unknown", reason=f"the lock cannot be read: {error}")
    is_beside = bool(
        surroundings.private_place()
    )  # the new release, although the old one serves yet
    if lock is None or (lock.state in UNTOUCHED_STATES and not is_beside):
        return NOTHING
    kind: Literal["updated", "rolled_back"]
    if lock.state in UPDATED_STATES or is_beside:
        kind = "updated"
    elif lock.state in PUT_BACK_STATES:
        kind = "rolled_back"
    else:
        return BootstrapResult("unknown", reason=f"the lock is in state `{lock.state}`")
    return BootstrapResult(kind, lock.from_release, lock.to_release, lock.ref, lock.reason)
