"""Asking for an update: one request at a time, in `run/request.json`.

Clients write it and wake the supervisor; the engine takes it up. Whoever comes second is refused.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import msgspec

from surefoot import stored
from surefoot.errors import DamagedError, NotRunningError, RefusedError
from surefoot.stored import UpdateId
from surefoot.update.lock import Kind, Update, new_id

if TYPE_CHECKING:
    from surefoot.home import Home


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    id: UpdateId = msgspec.field(default_factory=new_id)
    kind: Kind = "update"
    origin: str = "cli"
    by: str = ""
    """Who asks, where that is known."""
    ref: str | None = None
    """A branch, tag or commit; for a rollback a release, None for the one before."""
    backup: str | None = None
    accept_data_changes: bool = False
    """Go on although the migration loses rows, tables or columns."""
    restore_database: bool = False
    """Put a backup in place of a database that nothing else brings back to the release."""

    def begin(self) -> Update:
        return Update(
            id=self.id,
            kind=self.kind,
            origin=self.origin,
            by=self.by,
            ref=self.ref,
            backup=self.backup,
            accept_data_changes=self.accept_data_changes,
            restore_database=self.restore_database,
        )


def put(home: Home, request: Request) -> None:
    """Leaves a request. Raises RefusedError if one is waiting already."""
    temporary = home.request.with_name(f"request-{request.id}.new")
    try:
        temporary.write_bytes(msgspec.json.encode(request))
    except FileNotFoundError:
        raise NotRunningError(
            f"The app in {home.root} does not run under Surefoot.",
            next_step="Start it with `surefoot run`.",
        ) from None
    try:
        os.link(temporary, home.request)  # fails where a request is waiting; never half written
    except FileExistsError:
        raise RefusedError(
            "Another request is waiting already.", next_step="See it with `surefoot status`."
        ) from None
    finally:
        temporary.unlink()


def waiting(home: Home) -> Request | None:
    """The request that waits; None if there is none, or none that can be read."""
    try:
        return stored.load(home.request, Request)
    except (FileNotFoundError, DamagedError):
        return None


def withdraw(home: Home, request: Request) -> None:
    """Removes a request: it has been taken up (the lock says so), answered, or is not wanted."""
    found = waiting(home)
    if found is None:
        keep_damaged_aside(home)
    elif found.id == request.id:
        home.request.unlink(missing_ok=True)


def keep_damaged_aside(home: Home) -> None:
    """Makes room for the next request where one lies that nobody can read."""
    if os.path.lexists(home.request) and waiting(home) is None:
        aside = home.request.with_name(f"{home.request.name}.damaged-{time.time_ns()}")
        home.request.rename(aside)
