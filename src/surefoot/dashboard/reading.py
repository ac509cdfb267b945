"""What the pages and the API show, read from a home: the one place that knows where it comes from.

Nothing here changes anything, and nothing is kept that is not on the disk, except for speed.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from surefoot import control, reports, stored
from surefoot.dashboard.health import Health, asked
from surefoot.dashboard.updates import Told, Update, after, told
from surefoot.errors import DamagedError, SurefootError
from surefoot.releases.store import Store
from surefoot.update import requests
from surefoot.update.history import FINAL, Event, History
from surefoot.update.states import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.home import Home

REMEMBERED = 200
"""Updates that are kept in memory; any other is read from the history when it is asked for."""
LOOKED_BACK_BYTES = 4 * 1024 * 1024
"""Of the history, at the start: some hundred updates."""
BEGINNINGS = frozenset({"requested", *FINAL - {"up_to_date"}})
"""What an update is first heard of by; anything else is a question, or no update."""
LATELY = 5
"""How many of the last updates an expectation is made from."""
HEALTH_AGE_S = 5.0
AVAILABLE_AGE_S = 600.0


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
        return told(events, self._refs) if events else None

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
        update = after(known, event, self._refs)
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
            self._health = asked(self.home)
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


def _stamp(path: os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - many of them, often
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
