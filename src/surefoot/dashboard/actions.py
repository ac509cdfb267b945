"""What people do here, each with who did it in the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from surefoot import config
from surefoot.errors import RefusedError, SurefootError
from surefoot.update import asking, denylist, hold
from surefoot.update.history import History
from surefoot.update.lock import Kind, new_id

if TYPE_CHECKING:
    from surefoot.dashboard.access import Visitor
    from surefoot.home import Home
    from surefoot.update.hold import Hold


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for."""

    kind: Kind
    ref: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    """Of an update a tag, branch or commit, else the newest; of a rollback a release, else the one
    before."""
    backup: str | None = None
    """The backup that is restored."""
    with_release: bool = False
    """Bring back the release that the backup belongs to as well."""
    accept_data_changes: bool = False
    """Go on although the migration loses rows, tables or columns."""
    restore_database: bool = False
    """Put a backup in place of a database that nothing else brings back to the release."""


def who(visitor: Visitor, address: str) -> str:
    """Who did it, as the history says it. The name of a session is what they have called
    themselves, so it comes with where they were."""
    return f"{visitor.name} ({visitor.via}{f', {address}' if address else ''})"


def ask(home: Home, wanted: Wanted, by: str) -> str:
    """Asks the supervisor; returns the update's id. What is refused stands in the history too.

    Raises SurefootError where it cannot be asked for.
    """
    facts: dict[str, Any] = {
        "kind": wanted.kind,
        "origin": "dashboard",
        "by": by,
        "ref": wanted.ref,
    }
    name = new_id()
    try:
        if wanted.kind == "restore" and not wanted.backup:
            raise RefusedError("Which backup is not said.", next_step="Name it as `backup`.")
        config.load(home.root)  # what is wrong there is told here, and not in the log
        request = asking.request(
            home,
            kind=wanted.kind,
            origin="dashboard",
            by=by,
            ref=wanted.ref,
            backup=wanted.backup,
            with_release=wanted.with_release,
            accept_data_changes=wanted.accept_data_changes and wanted.kind == "update",
            restore_database=wanted.restore_database and wanted.kind == "rollback",
        )
        name = request.id
        asking.put(home, request)
    except SurefootError as error:
        History(home).append(name, "refused", str(error), reason=str(error), **facts)
        raise
    return name


def place_hold(home: Home, reason: str, by: str) -> Hold:
    return hold.place(home, by=by, reason=reason)


def release_hold(home: Home, by: str) -> None:
    """Raises RefusedError where nothing is held."""
    if not hold.release(home, by=by):
        raise RefusedError("Updates are not on hold. Nothing was changed.")


def allow(home: Home, release: str, by: str) -> None:
    """See `denylist.allow`."""
    denylist.allow(home, release, by=by)
