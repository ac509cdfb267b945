"""What the pages and the API show, read from a home: the one place that knows where it comes from.

Nothing here changes anything, and nothing is kept that is not on the disk, except for speed.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from surefoot import config, control, reports, stored
from surefoot.errors import DamagedError, SurefootError
from surefoot.health.probes import probes_for
from surefoot.releases import processes
from surefoot.releases.store import Store
from surefoot.update import requests
from surefoot.update.history import FINAL, Event, History
from surefoot.update.states import RULES, State, Step, rule_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from surefoot.home import Home

REMEMBERED = 200
"""Updates that are kept in memory; any other is read from the history when it is asked for."""
LOOKED_BACK_BYTES = 4 * 1024 * 1024
"""Of the history, at the start: some hundred updates."""
BEGINNINGS = frozenset({"requested", *FINAL - {"up_to_date"}})
"""What an update is first heard of by; anything else is a question, or no update."""
LATELY = 5
"""How many of the last updates an expectation is made from."""
UPDATES = FINAL - {"up_to_date", "refused"}
"""Ends of what was an update, and not only a question."""
HEALTH_AGE_S = 5.0
AVAILABLE_AGE_S = 600.0

STAGING = (Step.STAGE,)
BESIDE = (Step.OVERLAP, Step.TAKE_OVER)
CUTOVER = (Step.STOP, Step.SNAPSHOT, Step.MIGRATE, Step.SWITCH, Step.START, Step.JUDGE)
BACKWARDS = (Step.PUT_BACK, Step.RESUME_OLD)


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


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the app has answered to the configured question."""

    standing: Literal["healthy", "unhealthy", "unknown"]
    detail: str
    asked_at: datetime
    took_s: float | None = None


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """What the source had when it was last asked."""

    looked_at: datetime | None = None
    looking: bool = False
    found: reports.Available | None = None
    error: str | None = None


@dataclass
class Reader:
    """Reads one home. May be used from several threads."""

    home: Home
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _updates: dict[str, Update] = field(init=False, default_factory=dict)
    _refs: dict[str, str] = field(init=False, default_factory=dict)
    _offset: int | None = field(init=False, default=None)
    _health: Health | None = field(init=False, default=None)
    _available: Availability = field(init=False, default_factory=Availability)
    _asking: threading.Lock = field(init=False, default_factory=threading.Lock)

    def status(self) -> reports.Status:
        return reports.status(self.home)

    def releases(self) -> list[reports.Release]:
        return reports.releases(self.home)[0]

    def backups(self) -> list[reports.Backup]:
        return reports.backups(self.home)

    # -- updates

    def updates(self, limit: int = 50) -> list[Update]:
        """The last ones, the newest first."""
        self._catch_up()
        with self._lock:
            found = [update for update in self._updates.values() if update.is_real]
        return found[::-1][:limit]

    def update(self, name: str) -> Told | None:
        """One in full; None where the history does not know it."""
        self._catch_up()
        try:
            events = History(self.home).of(name)
        except SurefootError:
            return None  # the status says why
        if not events:
            return None
        update = None
        for event in events:
            update = _after(update, event, self._refs)
        assert update is not None  # noqa: S101 - there was an event
        outputs = [text for e in events if (text := reports.text_or_none(e.facts.get("output")))]
        return Told(
            update=update,
            events=events,
            output=outputs[-1] if outputs else "",
            rehearsals=[found for event in events if (found := _rehearsed(event))],
        )

    def names(self) -> dict[str, str]:
        """What releases are called, by their id: by their ref, and where that has moved, as a
        branch does, by their id as well."""
        self._catch_up()
        with self._lock:
            refs = dict(self._refs)
        refs |= {release.id: release.ref for release in self.releases() if release.ref}
        if found := self._available.found:
            refs[found.newest.release] = found.newest.ref
        often = Counter(refs.values())
        return {
            release: ref if often[ref] == 1 else f"{ref} {release[:7]}"
            for release, ref in refs.items()
        }

    def expected_window_s(self, kind: str) -> float | None:
        """How long the app may be away, by the last that were committed; None if none were."""
        return self._expected(kind, lambda update: update.downtime_s)

    def expected_staging_s(self, kind: str) -> float | None:
        """How long it takes before that, while the app serves."""
        return self._expected(kind, lambda update: update.durations.get(Step.STAGE))

    def _expected(self, kind: str, figure: Callable[[Update], float | None]) -> float | None:
        """The median of the last of this kind that took the place of another release; of any kind
        where there were none of this."""
        ended = [u for u in self.updates(REMEMBERED) if u.outcome == "committed" and u.from_]
        of_kind = [u for u in ended if u.kind == kind] or ended
        known = [found for u in of_kind[:LATELY] if (found := figure(u)) is not None]
        return round(median(known), 2) if known else None

    def _catch_up(self) -> None:
        """Reads what is new in the history; all of it where it has become another one."""
        history = History(self.home)
        with self._lock:
            size = history.size()
            if self._offset is None or size < self._offset:
                self._updates, self._refs = {}, {}
                self._offset = max(size - LOOKED_BACK_BYTES, 0)
            try:
                for event, behind in history.follow(self._offset):
                    self._offset = behind
                    self._add(event)
            except SurefootError:
                return  # the status says so

    def _add(self, event: Event) -> None:
        known = self._updates.get(event.update)
        if known is None and event.event not in BEGINNINGS:
            return
        update = _after(known, event, self._refs)
        self._updates[event.update] = update
        if update.to and update.ref:
            self._refs[update.to] = update.ref
        while len(self._updates) > REMEMBERED:
            del self._updates[next(iter(self._updates))]

    # -- the update in flight

    def progress(self) -> str:
        """What a slow command has printed last."""
        try:
            shown = stored.read(self.home.progress, limit=65536).decode("utf-8", errors="replace")
        except (FileNotFoundError, DamagedError):
            return ""
        return shown.strip()[:200]

    def durations(self) -> tuple[dict[str, float], bool]:
        """Seconds spent in each step that the update in flight has done, and whether its release
        lives beside the old one."""
        from surefoot.update.lock import Lock

        try:
            update = Lock(self.home).read()
        except DamagedError:
            return {}, False
        return (update.durations, update.overlaps) if update else ({}, False)

    def is_waiting(self, name: str) -> bool:
        """Whether the request of this update has not been taken up yet."""
        found = requests.waiting(self.home)
        return found is not None and found.id == name

    def trace(self) -> tuple[object, ...]:
        """Differs as soon as there may be something new to show; costs a few system calls."""
        home = self.home
        files = (home.lock, home.history, home.request, home.hold, home.ledger, home.progress)
        return (
            *map(_stamp, files),
            Store(home).current_id(),
            control.is_running(home),
            self._available,
            self._health and (self._health.standing, self._health.detail),
        )

    # -- what is asked of others

    def health(self, max_age_s: float = HEALTH_AGE_S) -> Health:
        """Asks the app, unless it was asked a moment ago. Takes as long as `health.timeout`."""
        with self._asking:
            known = self._health
            if known and (datetime.now(UTC) - known.asked_at).total_seconds() < max_age_s:
                return known
            self._health = _asked(self.home)
            return self._health

    @property
    def known_health(self) -> Health | None:
        return self._health

    @property
    def available(self) -> Availability:
        """What is known; nobody is asked."""
        return self._available

    def look(self, max_age_s: float = AVAILABLE_AGE_S) -> Availability:
        """Asks the source, unless it was asked a while ago, or is being asked. Takes its time."""
        with self._lock:
            known = self._available
            age_s = (
                (datetime.now(UTC) - known.looked_at).total_seconds() if known.looked_at else None
            )
            if known.looking or (age_s is not None and age_s < max_age_s and not self._moved()):
                return known
            self._available = msgspec.structs.replace(known, looking=True)
        found, error = None, None
        try:
            found = reports.Source.of(self.home).available()
        except (SurefootError, OSError) as failure:
            error = str(failure)
        finally:
            self._available = Availability(looked_at=datetime.now(UTC), found=found, error=error)
        return self._available

    def _moved(self) -> bool:
        """Whether another release is in use than when the source was asked."""
        found = self._available.found
        if found is None:
            return False
        return (found.current.release if found.current else None) != Store(self.home).current_id()


BACK_STATES = frozenset({State.ROLLING_BACK, State.RESTORED, State.ROLLED_BACK, State.BROKEN})


def steps(
    state: State | None, durations: dict[str, float], *, overlaps: bool
) -> list[tuple[Step, str, float | None]]:
    """Each step with how far it is: `done`, `current`, `failed` or `pending`."""
    wanted: tuple[Step, ...] = (*STAGING, *(BESIDE if overlaps else CUTOVER))
    failed = None
    if state in BACK_STATES or state is State.ABANDONED:
        failed = next((step for step in wanted if step not in durations), None)
        begun = (step for step in wanted if step in durations or step is failed)
        wanted = (*begun, *(BACKWARDS if state in BACK_STATES else ()))
    under_way = rule_of(state, overlaps=overlaps).step if state in RULES else None

    def standing(step: Step) -> str:
        if step == under_way:
            return "current"
        if step is failed:
            return "failed"
        return "done" if step in durations else "pending"

    known = dict(durations)
    if Step.JUDGE not in known:
        known.pop(Step.START, None)  # it lasts until the first good answer
    return [(step, standing(step), known.get(step)) for step in wanted]


def _after(update: Update | None, event: Event, refs: dict[str, str]) -> Update:
    """What is known of an update after one more event."""
    facts = event.facts
    if update is None:
        update = Update(id=event.update, begun_at=event.at)
    known: dict[str, Any] = {}
    for name, key in _FACTS.items():
        if (value := reports.text_or_none(facts.get(key))) is not None:
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
    durations = reports.durations(event.facts.get("durations"))
    downtime_s = durations.get("window")
    if downtime_s is None and event.event in {"committed", "rolled_back"}:
        if Step.TAKE_OVER in durations:
            downtime_s = 0.0
        elif update.staged_at is not None:  # an older Surefoot did not say
            downtime_s = (event.at - update.staged_at).total_seconds()
    return {
        "outcome": event.event,
        "ended_at": event.at,
        "cause": reports.text_or_none(event.facts.get("cause")),
        "reason": reports.text_or_none(event.facts.get("reason")) or None,
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


def _asked(home: Home) -> Health:
    """Asks the app once."""
    begin = time.monotonic()
    store = Store(home)
    try:
        loaded = config.load(home.root)
        current = store.current_id()
        if current is None:
            return Health(standing="unknown", detail="nothing is installed", asked_at=_now())
        settings = loaded.health
        if not (settings.path or settings.http or settings.tcp or settings.command):
            said = "no question is configured"
            return Health(standing="unknown", detail=said, asked_at=_now())
        folder = store.folder(current)
        with probes_for(
            msgspec.structs.replace(settings, notify=False),
            loaded.address(),
            token="",
            notify_socket=None,
            environment=processes.command_environment(folder, home, loaded),
            directory=folder / "app" / loaded.app.directory,
        ) as probe:
            outcome = probe.probe()
    except (SurefootError, OSError) as error:
        return Health(standing="unknown", detail=str(error), asked_at=_now())
    return Health(
        standing="healthy" if outcome.healthy else "unhealthy",
        detail=outcome.detail,
        asked_at=_now(),
        took_s=round(time.monotonic() - begin, 4),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _stamp(path: os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - many of them, often
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def ended(updates: Iterable[Update]) -> list[Update]:
    """Those that took their time and have ended, the oldest first: what is plotted."""
    return [update for update in updates if update.duration_s is not None][::-1]
