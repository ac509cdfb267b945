"""Finding again what was lost: the release in use, or the update whose lock is damaged.

Nothing is guessed: where what lies on disk does not say it, a person is needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from surefoot.errors import DamagedError
from surefoot.update.causes import Cause
from surefoot.update.databases import DESCRIPTION
from surefoot.update.history import FINAL
from surefoot.update.lock import Update, load, new_id
from surefoot.update.states import State

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.update.history import Event
    from surefoot.update.local import LocalHost

BACKWARDS = "rolling_back"
"""In a snapshot's folder: it is being put back."""


def find_current(host: LocalHost) -> bool:
    """Mends `current` where it is missing, or leads to nothing: it becomes the last release that
    was committed, or an earlier one if the databases are as that one left them."""
    store = host.store
    if store.current_id() is not None or store.is_obstructed():
        return False
    if os.path.lexists(host.home.lock):
        return False
    ledger = host.ledger()
    for release in ledger.newest_first():
        if store.is_startable(release) and host.databases.fit(release, ledger):
            store.switch(release)
            text = f"`current` led to no release; it is {release} again."
            host.history.append(new_id(), "recovered", text, lasting=True)
            return True
    return False


def find_update(host: LocalHost, error: DamagedError) -> Update | None:
    """What was in flight, in the place of a lock that cannot be read: that is kept aside. It goes
    last: a crash finds it damaged again."""
    why = f"{error.message} It is kept aside."
    begun = _begun(host)
    update = _snapshotted(host, why) or (_taken_over(host, begun) if begun else None)
    identity = update.id if update else begun.update if begun else new_id()
    host.history.append(identity, "lock_damaged", why, lasting=True)
    if update is None:
        why = f"Its lock was damaged before the app was touched: {why}"
        host.history.append_once(identity, "abandoned", why, reason=why, cause=Cause.LOCK_DAMAGED)
    host.lock.keep_aside(update)
    return update


def _begun(host: LocalHost) -> Event | None:
    """How the last update that has not ended was begun, by the history."""
    ended = set()
    for event in host.history.newest():
        if event.event == "requested":
            return None if event.update in ended else event
        if event.event in FINAL:
            ended.add(event.update)
    return None


def _snapshotted(host: LocalHost, why: str) -> Update | None:
    """By what lies beside the snapshots.

    Without a snapshot the database was not touched and `current` is whole. With one, and `current`
    still the old release, the migration may be half way: everything goes back. With one and
    `current` the new release, the migration is complete: it is judged again, unless it was found
    healthy already, or was being put back. A snapshot whose description is damaged as well leaves
    it to a person.
    """
    host.sync()
    for folder in sorted(host.home.backups.glob("in_flight/[!.]*")):
        try:
            update = _described(host, folder)
        except DamagedError as error:
            return _unknown(host, folder.name, f"{why} {error.message}")
        if update is None:
            continue
        if update.state is State.ACCEPTED:
            return msgspec.structs.replace(update, state=State.COMMITTED)
        is_new = update.to != update.from_ and host.store.current_id() == update.to
        forward = is_new and not (folder / BACKWARDS).exists()
        return msgspec.structs.replace(
            update,
            state=State.PROBATION if forward else State.ROLLING_BACK,
            attempts={},
            written=update.pending if forward and update.written is None else update.written,
            reason="" if forward else why,
        )
    return None


def _described(host: LocalHost, folder: Path) -> Update | None:
    """The update that the snapshots in a folder belong to; None where they were not complete: then
    nothing had been begun."""
    try:
        return load(folder / DESCRIPTION)
    except FileNotFoundError:
        host.databases.undo(folder)
        return None


def _unknown(host: LocalHost, name: str, why: str) -> Update:
    """All that is known is that something may be half way: nothing must be started."""
    begun = next((e.facts for e in host.history.of(name) if e.event == "requested"), {})
    return Update(
        id=name,
        state=State.BROKEN,
        from_=begun.get("from") or host.store.current_id(),
        to=begun.get("to"),
        pending=list(host.config.database),
        reason=why,
    )


def _taken_over(host: LocalHost, begun: Event) -> Update | None:
    """Of an update without a snapshot: with an overlap the release may be in use already, and then
    it was found healthy."""
    known = {name: begun.facts.get(name) for name in ("from", "to", "ref")}
    current = host.store.current_id()
    if current is None or current != known["to"] or current == known["from"]:
        return None
    try:
        known |= {"id": begun.update, "state": State.COMMITTED, "overlaps": True}
        return msgspec.convert(known, Update)
    except msgspec.ValidationError:  # the history is damaged as well
        return None
