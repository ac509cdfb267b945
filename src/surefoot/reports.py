"""How things stand in a home, as `--json` prints it and the dashboard's API answers it.

Every function only looks, and is true in every state: what cannot be read is told, not raised.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from surefoot import config, control
from surefoot.databases import backups as kept_backups
from surefoot.errors import ConfigurationError, DamagedError, SourceError, SurefootError
from surefoot.releases.git import Change, GitSource
from surefoot.releases.store import Store, release_id
from surefoot.update import requests
from surefoot.update.history import FINAL, History
from surefoot.update.hold import Hold, held
from surefoot.update.lock import Kind, Lock
from surefoot.update.permission import Permission, busy
from surefoot.update.remembered import seen_ledger
from surefoot.update.states import State

if TYPE_CHECKING:
    from surefoot.databases.backups import Kept
    from surefoot.home import Home
    from surefoot.releases.ledger import Ledger
    from surefoot.releases.store import Release as Stored


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Current(_Report, frozen=True, kw_only=True):
    """The release in use."""

    id: str
    ref: str | None
    commit: str | None
    since: datetime | None
    """When it was committed."""


class InFlight(_Report, frozen=True, kw_only=True, rename={"from_": "from"}):
    """The update in flight, without its secret."""

    id: str
    kind: Kind
    origin: str
    state: State
    since: datetime
    requested_at: datetime
    from_: str | None
    to: str | None
    ref: str | None
    attempts: dict[str, int]
    reason: str


class Waiting(_Report, frozen=True, kw_only=True):
    """A request that nobody has taken up yet."""

    id: str
    kind: Kind
    ref: str | None


class Last(_Report, frozen=True, kw_only=True, rename={"from_": "from"}):
    """How the last update ended."""

    update: str
    outcome: str
    at: datetime
    text: str
    kind: str | None
    origin: str | None
    from_: str | None
    to: str | None
    ref: str | None
    reason: str | None
    durations: dict[str, float]
    """Seconds by step."""
    snapshots: dict[str, str]
    """By database: how its snapshot was taken, and why not faster."""


class NewestBackup(_Report, frozen=True, kw_only=True):
    name: str
    made_at: datetime


class Denied(_Report, frozen=True, kw_only=True):
    """A release that is not tried again by itself."""

    release: str
    reason: str
    at: datetime


class Automatic(_Report, frozen=True, kw_only=True):
    """Whether updates come by themselves, and what they would wait for now."""

    enabled: bool
    windows: list[str]
    opens_at: datetime | None
    """When the next window opens; None while one is open, or where there are none."""
    busy: str | None
    """What the app says that it is busy with."""
    postponed_since: datetime | None
    """Since when the app has put an update off."""
    postponed_until: datetime | None
    """When it no longer can."""


class Status(_Report, frozen=True, kw_only=True):
    """All of it in one look."""

    home: str
    running: bool
    """Whether the supervisor runs."""
    app: str | None
    address: str | None
    configuration: str | None
    """What is wrong with it."""
    release: Current | None
    update: InFlight | None
    lock: str | None
    """Why the lock cannot be read."""
    request: Waiting | None
    hold: Hold | None
    automatic: Automatic | None
    last: Last | None
    backup: NewestBackup | None
    releases: int
    """How many are on disk."""
    denied: list[Denied]
    problems: list[str]


def status(home: Home) -> Status:
    """How things stand now."""
    store = Store(home)
    ledger, damage = seen_ledger(home)
    problems = [damage] if damage else []
    waiting = requests.waiting(home)
    newest = next((b for b in kept_backups.all(home.backups) if b.is_good and b.facts), None)
    in_flight, lock = _in_flight(home)
    app, address, wrong = _app(home)
    return Status(
        home=str(home.root),
        running=control.is_running(home),
        app=app,
        address=address,
        configuration=wrong,
        release=_current(home, store, ledger, problems),
        update=in_flight,
        lock=lock,
        request=Waiting(id=waiting.id, kind=waiting.kind, ref=waiting.ref) if waiting else None,
        hold=held(home),
        automatic=automatic(home),
        last=_last(home, problems),
        backup=NewestBackup(name=newest.name, made_at=newest.facts.made_at)
        if newest and newest.facts
        else None,
        releases=len(store.all()),
        denied=[
            Denied(release=release, reason=denied.reason, at=denied.at)
            for release, denied in ledger.denied.items()
        ],
        problems=problems,
    )


def automatic(home: Home) -> Automatic | None:
    """None where the configuration cannot be read."""
    try:
        settings = config.load(home.root).update
    except ConfigurationError:
        return None
    permission = Permission(home, settings)
    since = permission.postponed_since()
    return Automatic(
        enabled=settings.auto,
        windows=settings.windows,
        opens_at=permission.opens_at(datetime.now(UTC)),
        busy=busy(home),
        postponed_since=since,
        postponed_until=since + timedelta(seconds=settings.busy_deadline_s) if since else None,
    )


def _app(home: Home) -> tuple[str | None, str | None, str | None]:
    """Its name, its address, and what is wrong with the configuration."""
    try:
        loaded = config.load(home.root)
    except ConfigurationError as error:
        return None, None, str(error)
    return loaded.app.name, loaded.address(), None


def _current(home: Home, store: Store, ledger: Ledger, problems: list[str]) -> Current | None:
    current = store.current_id()
    if current is None:
        if os.path.lexists(home.current):
            problems.append(f"{home.current} does not lead to a release.")
        return None
    release = None
    try:
        release = store.get(current)
    except DamagedError as error:
        problems.append(str(error))
    return Current(
        id=current,
        ref=release.ref if release else None,
        commit=release.commit if release else None,
        since=next((c.at for c in reversed(ledger.commits) if c.release == current), None),
    )


def _in_flight(home: Home) -> tuple[InFlight | None, str | None]:
    try:
        update = Lock(home).read()
    except DamagedError as error:
        return None, str(error)
    if update is None:
        return None, None
    known = {name: getattr(update, name) for name in InFlight.__struct_fields__}
    return InFlight(**known), None


def _last(home: Home, problems: list[str]) -> Last | None:
    """How the last update ended; what was only looked for is no update."""
    ended = FINAL - {"up_to_date", "refused"}
    try:
        last = next((event for event in History(home).newest() if event.event in ended), None)
    except SurefootError as error:
        problems.append(str(error))
        return None
    if last is None:
        return None
    facts = {key: text_or_none(last.facts.get(key)) for key in _FACTS}
    return Last(
        update=last.update,
        outcome=last.event,
        at=last.at,
        text=last.text,
        durations=durations(last.facts.get("durations")),
        snapshots=_texts(last.facts.get("snapshots")),
        from_=text_or_none(last.facts.get("from")),
        **facts,
    )


_FACTS = ("kind", "origin", "to", "ref", "reason")


def text_or_none(value: Any) -> str | None:
    """A text of an event that may be older, or damaged."""
    return value if isinstance(value, str) else None


def _texts(value: Any) -> dict[str, str]:
    found = value if isinstance(value, dict) else {}
    return {str(name): str(text) for name, text in found.items()}


def durations(value: Any) -> dict[str, float]:
    """Seconds by step, of an event that may be older, or damaged."""
    found = value if isinstance(value, dict) else {}
    return {str(k): v for k, v in found.items() if isinstance(v, float) and abs(v) < 1e9}


class Release(_Report, frozen=True, kw_only=True):
    """A release on disk."""

    id: str
    ref: str
    version: str | None
    commit: str
    current: bool
    created_at: datetime
    committed_at: datetime | None
    denied: str | None
    """Why it is not tried again by itself."""


def releases(home: Home) -> tuple[list[Release], str]:
    """Those on disk, the newest first, and what is wrong with the ledger."""
    store = Store(home)
    current = store.current_id()
    ledger, problem = seen_ledger(home)
    committed = {commit.release: commit.at for commit in ledger.commits}

    def told(release: Stored) -> Release:
        denied = ledger.denied.get(release.id)
        return Release(
            id=release.id,
            ref=release.ref,
            version=release.version,
            commit=release.commit,
            current=release.id == current,
            created_at=release.created_at,
            committed_at=committed.get(release.id),
            denied=denied.reason if denied else None,
        )

    return [told(release) for release in reversed(store.all())], problem


class Backup(_Report, frozen=True, kw_only=True):
    """A backup on disk, with what is known of it."""

    name: str
    file: str
    damage: str | None
    kind: str | None
    """`before_update`, or `replaced` for what stood where a backup or a snapshot was put back."""
    made_at: datetime | None
    database: str | None
    release: str | None
    update: str | None
    size_bytes: int | None


def backup(kept: Kept) -> Backup:
    """What is known of one."""
    facts = kept.facts
    return Backup(
        name=kept.name,
        file=str(kept.file),
        damage=kept.damage or None,
        kind=facts.kind if facts else None,
        made_at=facts.made_at if facts else None,
        database=facts.database if facts else None,
        release=facts.release if facts else None,
        update=facts.update if facts else None,
        size_bytes=facts.size_bytes if facts else None,
    )


def backups(home: Home) -> list[Backup]:
    """The newest first."""
    return [backup(kept) for kept in kept_backups.all(home.backups)]


class InUse(_Report, frozen=True, kw_only=True):
    release: str
    ref: str
    commit: str


class Newest(_Report, frozen=True, kw_only=True):
    release: str
    ref: str
    commit: str
    version: str | None


class Available(_Report, frozen=True, kw_only=True):
    """What an update would bring."""

    available: bool
    current: InUse | None
    newest: Newest
    denied: str | None
    """Why the newest is not tried again by itself."""
    changes: list[Change]
    """At most 50 commits, the newest first."""


@dataclass(frozen=True)
class Source:
    """The source of a home. Raises ConfigurationError where that is not known."""

    home: Home
    git: GitSource

    @classmethod
    def of(cls, home: Home) -> Source:
        return cls(home, GitSource(home.mirror, config.load(home.root).source))

    def available(self, ref: str | None = None) -> Available:
        """Asks the source for what `ref` names, else for the newest, and fetches what is new.

        Takes as long as the network does. Raises SurefootError where the source is at fault.
        """
        store, (ledger, _) = Store(self.home), seen_ledger(self.home)
        name = store.current_id()
        current = store.get(name) if name else None
        try:
            found = self.git.resolve(ref)
            is_new = current is None or current.commit != found.commit
            if is_new:
                self.git.fetch(found, lambda _line: None)
        except SourceError as error:  # here it is no update that was abandoned
            raise SurefootError(error.message, next_step=error.next_step) from None
        denied = ledger.denied.get(release_id(found.commit))
        since = current.commit if current else None
        return Available(
            available=is_new,
            current=InUse(release=current.id, ref=current.ref, commit=current.commit)
            if current
            else None,
            newest=Newest(
                release=release_id(found.commit),
                ref=found.ref,
                commit=found.commit,
                version=str(found.version) if found.version else None,
            ),
            denied=denied.reason if denied else None,
            changes=self.git.changes(since, found.commit) if is_new else [],
        )
