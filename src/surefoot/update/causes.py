"""Why an update did not come to a commit, or was taken back after it: a closed list.

The reason is a sentence for people; the cause is what is counted, and what an alert goes by.
"""

from __future__ import annotations

import errno
from enum import StrEnum

from surefoot.errors import BuildError, HeldError, SourceError, SurefootError, UnhealthyError
from surefoot.update.states import State


class Cause(StrEnum):
    """Each stands for the first thing that went wrong, not for what followed from it."""

    SOURCE = "source"
    """The release could not be had."""
    BUILD = "build"
    """The environment, or the app's own build commands."""
    STAGING = "staging"
    """Anything else that is found out while the old release serves, the rehearsal among it."""
    HELD = "held"
    """A person has to agree."""
    NO_ROOM = "no_room"
    STOP = "stop"
    SNAPSHOT = "snapshot"
    MIGRATION = "migration"
    SWITCH = "switch"
    START = "start"
    UNHEALTHY = "unhealthy"
    """The new release did not pass its probation, or failed soon after its commit."""
    CRASHES = "crashes"
    """It crashed again and again soon after its commit."""
    INTERRUPTED = "interrupted"
    """A step was begun as often as it may be, and never ended: kills, or power cuts."""
    LOCK_DAMAGED = "lock_damaged"
    BY_HAND = "by_hand"
    """Somebody asked for it."""
    UNKNOWN = "unknown"
    """What an older Surefoot has not said."""


_BY_STATE = {
    State.REQUESTED: Cause.STAGING,
    State.STAGED: Cause.STOP,
    State.PROVEN: Cause.START,
    State.STOPPED: Cause.SNAPSHOT,
    State.SNAPSHOTTED: Cause.MIGRATION,
    State.MIGRATED: Cause.SWITCH,
    State.SWITCHED: Cause.START,
    State.PROBATION: Cause.UNHEALTHY,
}


def cause_of(state: State, error: Exception) -> Cause:
    """Of a step that failed in this state."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Cause.NO_ROOM
    match error:
        case HeldError():
            return Cause.HELD
        case SourceError():
            return Cause.SOURCE
        case BuildError():
            return Cause.BUILD
        case UnhealthyError():
            return Cause.UNHEALTHY
        case SurefootError() | OSError():
            return _BY_STATE.get(state, Cause.UNKNOWN)
    return Cause.UNKNOWN
