"""What can happen to an update: one frozen dataclass for each.

A line of the history is one of these; `of` reads it, `record` writes it. A line that a newer
Surefoot has written, or that says what cannot be, is read as `Other`: never an error.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - read when a line is converted
from typing import Any, ClassVar

import msgspec

from surefoot.update import history
from surefoot.update.causes import Cause

Durations = dict[str, float]
"""Seconds: of each step by its name, of `window` (how long the app was away) and `longest_wait`
(what a client may have waited)."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """What each has."""

    name: ClassVar[str] = ""
    at: datetime
    update: str
    text: str = ""
    """The same in a sentence, for people."""

    @property
    def level(self) -> str:
        """How loud a log says it: info, warning, error or critical."""
        return _LEVELS.get(self.name, "info")


@dataclass(frozen=True, kw_only=True)
class Other(Event):
    """What this Surefoot does not know."""

    event: str
    facts: dict[str, Any] = field(default_factory=dict)


# -- towards a release


@dataclass(frozen=True, kw_only=True)
class Checked(Event):
    """By the timer: the source was asked, and there was nothing to do."""

    name = "checked"
    outcome: str = "up_to_date"
    """Or `refused`: what is new was rolled back, or could not be staged, before."""


@dataclass(frozen=True, kw_only=True)
class UpToDate(Event):
    """Somebody asked for the release that is in use."""

    name = "up_to_date"


@dataclass(frozen=True, kw_only=True)
class Refused(Event):
    """What was asked for was turned down."""

    name = "refused"
    kind: str = "update"
    origin: str = ""
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Requested(Event):
    """An update has begun: the lock is written."""

    name = "requested"
    kind: str = "update"
    origin: str = ""
    by: str = ""
    """Who asked, where that is known."""
    from_: str | None = None
    to: str | None = None
    ref: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resumed(Event):
    """A new engine has taken it up after a crash, or a restart."""

    name = "resumed"


@dataclass(frozen=True, kw_only=True)
class Staging(Event):
    """Fetch, build, backup and rehearsal begin; the old release serves."""

    name = "staging"


@dataclass(frozen=True, kw_only=True)
class Fetched(Event):
    """The commit is in the mirror."""

    name = "fetched"


@dataclass(frozen=True, kw_only=True)
class Built(Event):
    """Code and environment are on the disk."""

    name = "built"


@dataclass(frozen=True, kw_only=True)
class BackedUp(Event):
    """A backup of a database was made."""

    name = "backed_up"


@dataclass(frozen=True, kw_only=True)
class Rehearsing(Event):
    """A migration, or the release itself, is tried on a copy."""

    name = "rehearsing"


@dataclass(frozen=True, kw_only=True)
class RehearsalSkipped(Event):
    """A part could not be rehearsed."""

    name = "rehearsal_skipped"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class MigrationRehearsed(Event):
    """The migration of a database works on a copy."""

    name = "migration_rehearsed"
    database: str = ""
    duration_s: float = 0.0
    changes: list[dict[str, Any]] = field(default_factory=list)
    """Rows, tables and columns before and after."""


@dataclass(frozen=True, kw_only=True)
class LongWindow(Event):
    """The migration took longer than `max_window`; the update goes on, since it was asked for."""

    name = "long_window"
    duration_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rehearsed(Event):
    """The release works on a copy of the data."""

    name = "rehearsed"


@dataclass(frozen=True, kw_only=True)
class Held(Event):
    """A person has to agree, or to act; the app serves."""

    name = "held"
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class Staged(Event):
    """All is ready for the cutover."""

    name = "staged"


# -- the overlap, in place of a cutover


@dataclass(frozen=True, kw_only=True)
class OverlapSkipped(Event):
    """`overlap` is on, and the old release is stopped first all the same."""

    name = "overlap_skipped"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Overlapping(Event):
    """The new release runs beside the old one, in private."""

    name = "overlapping"


@dataclass(frozen=True, kw_only=True)
class Proven(Event):
    """It was found healthy there."""

    name = "proven"


@dataclass(frozen=True, kw_only=True)
class TookOver(Event):
    """It takes the connections; the old one ends."""

    name = "took_over"


@dataclass(frozen=True, kw_only=True)
class NotTaken(Event):
    """Found healthy in private, it did not take the listening sockets: it is started again."""

    name = "not_taken"


# -- the cutover


@dataclass(frozen=True, kw_only=True)
class Stopped(Event):
    """The app has ended, the gate is closed."""

    name = "stopped"


@dataclass(frozen=True, kw_only=True)
class Snapshotted(Event):
    """The databases can be put back."""

    name = "snapshotted"
    snapshots: dict[str, str] = field(default_factory=dict)
    """By database: how it was taken, and why not faster."""


@dataclass(frozen=True, kw_only=True)
class Migrating(Event):
    """The migration of a database begins."""

    name = "migrating"


@dataclass(frozen=True, kw_only=True)
class Migrated(Event):
    """The databases are the new release's."""

    name = "migrated"


@dataclass(frozen=True, kw_only=True)
class Switched(Event):
    """`current` is the new release."""

    name = "switched"


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The new release runs, behind the gate."""

    name = "started"


@dataclass(frozen=True, kw_only=True)
class Healthy(Event):
    """The verdict of the probation."""

    name = "healthy"


# -- the ends


@dataclass(frozen=True, kw_only=True)
class Ended(Event):
    """What is known of an update when it has come to an end."""

    kind: str = "update"
    origin: str = ""
    from_: str | None = None
    to: str | None = None
    ref: str | None = None
    cause: Cause | None = None
    """None where nothing went wrong."""
    reason: str = ""
    output: str = ""
    """The end of what the failed command printed."""
    healthy: bool = True
    """Whether what serves now was found healthy."""
    durations: Durations = field(default_factory=dict)
    snapshots: dict[str, str] = field(default_factory=dict)
    """By database: how its snapshot was taken, and why not faster."""
    turned_away: int = 0
    """How many clients were given the maintenance answer by the gate."""


@dataclass(frozen=True, kw_only=True)
class Committed(Ended):
    """The release that was asked for serves. Of kind `rollback` and origin `watch` it is an older
    one, because the newer failed soon after its commit."""

    name = "committed"


@dataclass(frozen=True, kw_only=True)
class Abandoned(Ended):
    """It ended before the app was touched. Without `to`, the source could not even be asked."""

    name = "abandoned"


@dataclass(frozen=True, kw_only=True)
class RolledBack(Ended):
    """Database, environment and code are what they were."""

    name = "rolled_back"


@dataclass(frozen=True, kw_only=True)
class Broken(Ended):
    """A person is needed; the app is not started."""

    name = "broken"


@dataclass(frozen=True, kw_only=True)
class RollingBack(Event):
    """Everything is put back from here on."""

    name = "rolling_back"


@dataclass(frozen=True, kw_only=True)
class Restoring(Event):
    """A backup is put in place of a database, because somebody asked for it."""

    name = "restoring"


@dataclass(frozen=True, kw_only=True)
class Restored(Event):
    """A database is as it was, or is the backup that was asked for."""

    name = "restored"


@dataclass(frozen=True, kw_only=True)
class Pruned(Event):
    """Old releases and backups were removed."""

    name = "pruned"


@dataclass(frozen=True, kw_only=True)
class NotPruned(Event):
    """They could not be removed."""

    name = "not_pruned"


# -- apart from updates


@dataclass(frozen=True, kw_only=True)
class HoldPlaced(Event):
    """No update starts by itself from here on."""

    name = "hold_placed"
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class HoldReleased(Event):
    """Updates start by themselves again."""

    name = "hold_released"
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Allowed(Event):
    """A release was taken off the denylist."""

    name = "allowed"
    by: str = ""
    release: str | None = None


@dataclass(frozen=True, kw_only=True)
class Crashing(Event):
    """The app crashes again and again."""

    name = "crashing"
    release: str | None = None


@dataclass(frozen=True, kw_only=True)
class Postponed(Event):
    """What would have come by itself was put off for the first time: the app is busy."""

    name = "postponed"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Recovered(Event):
    """`current` was missing, and was mended."""

    name = "recovered"


@dataclass(frozen=True, kw_only=True)
class LockDamaged(Event):
    """The lock could not be read, and was kept aside."""

    name = "lock_damaged"


def _known(kind: type[Event]) -> dict[str, type[Event]]:
    found = {kind.name: kind} if "name" in vars(kind) and kind.name else {}
    for narrower in kind.__subclasses__():
        found |= _known(narrower)
    return found


KNOWN: dict[str, type[Event]] = _known(Event)
"""By the name in the history."""

_LEVELS = {
    **dict.fromkeys(("abandoned", "held", "long_window", "not_pruned", "refused"), "warning"),
    **dict.fromkeys(("rolling_back", "rolled_back", "crashing", "lock_damaged"), "error"),
    "broken": "critical",
}


def of(line: history.Event) -> Event:
    """What a line of the history tells."""
    base: dict[str, Any] = {"at": line.at, "update": line.update, "text": line.text}
    kind = KNOWN.get(line.event)
    if kind is None:
        return Other(**base, event=line.event, facts=line.facts)
    facts = {("from_" if key == "from" else key): value for key, value in line.facts.items()}
    try:
        event = msgspec.convert(facts | base, kind)
    except (msgspec.ValidationError, RecursionError):
        event = msgspec.convert(_what_fits(facts, kind) | base, kind)
    if isinstance(event, Ended) and event.cause is None and _went_wrong(event):
        event = dataclasses.replace(event, cause=Cause.UNKNOWN)
    return event


def _what_fits(facts: dict[str, Any], kind: type[Event]) -> dict[str, Any]:
    """Without what cannot be: a fact that is damaged, or newer than we are, costs only itself."""
    found = {}
    for name, wanted in typing.get_type_hints(kind).items():
        if name in facts:
            try:
                found[name] = msgspec.convert(facts[name], wanted)
            except (msgspec.ValidationError, TypeError, RecursionError):
                continue
    return found


def _went_wrong(event: Ended) -> bool:
    return not isinstance(event, Committed) or event.kind == "rollback"


def record(event: Event) -> history.Event:
    """The line of the history that tells of an event."""
    if isinstance(event, Other):
        name, facts = event.event, event.facts
    else:
        name = event.name
        facts = {
            f.name.rstrip("_"): getattr(event, f.name)
            for f in dataclasses.fields(event)
            if f.name not in {"at", "update", "text"}
        }
    return history.Event(at=event.at, update=event.update, event=name, text=event.text, facts=facts)
