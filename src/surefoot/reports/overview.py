"""All of it in one look: what runs, what is in flight, how the last update ended."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from surefoot import config, control
from surefoot.databases import backups as kept_backups
from surefoot.errors import ConfigurationError, DamagedError, SurefootError
from surefoot.releases.store import Store
from surefoot.reports.facts import durations, text_or_none, texts
from surefoot.update import requests
from surefoot.update.history import FINAL, History
from surefoot.update.hold import Hold, held
from surefoot.update.lock import Kind, Lock
from surefoot.update.permission import Permission, busy
from surefoot.update.remembered import seen_ledger
from surefoot.update.states import State

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.releases.ledger import Ledger


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """The release in use."""

    id: str
    ref: str | None
    commit: str | None
    since: datetime | None
    """When it was committed."""


class InFlight(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
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


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A request that nobody has taken up yet."""

    id: str
    kind: Kind
    ref: str | None


class Last(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
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


class NewestBackup(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    made_at: datetime


class Denied(msgspec.Struct, frozen=True, kw_only=True):
    """A release that is not tried again by itself."""

    release: str
    reason: str
    at: datetime


class Automatic(msgspec.Struct, frozen=True, kw_only=True):
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


class Status(msgspec.Struct, frozen=True, kw_only=True):
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
        snapshots=texts(last.facts.get("snapshots")),
        from_=text_or_none(last.facts.get("from")),
        **facts,
    )


_FACTS = ("kind", "origin", "to", "ref", "reason")
