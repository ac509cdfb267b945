"""Asking for an update, for every front end: what is wanted, and leaving it for the supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surefoot import control
from surefoot.databases import backups
from surefoot.errors import DamagedError, DatabaseError, NotRunningError, RefusedError
from surefoot.update import requests
from surefoot.update.lock import Lock
from surefoot.update.requests import Request
from surefoot.update.states import State

if TYPE_CHECKING:
    from surefoot.home import Home


def request(home: Home, *, with_release: bool, **wanted: Any) -> Request:
    """The request for an update, a rollback or a restore.

    Raises RefusedError where what is named cannot be meant.
    """
    if wanted["kind"] != "restore":
        return Request(**wanted)
    try:
        found = backups.get(home.backups, wanted["backup"])
        backups.verify(found)
    except DatabaseError as error:
        raise RefusedError(error.message, next_step=error.next_step) from None
    release = found.facts.release if found.facts else ""
    if with_release and not release:
        raise RefusedError(
            f"It is not known which release the backup {found.name} belongs to.",
            next_step="Name the release: `surefoot rollback RELEASE`, then restore the backup.",
        )
    return Request(**wanted | {"backup": found.name, "ref": release if with_release else None})


def put(home: Home, request: Request) -> None:
    """Leaves the request and wakes the supervisor; what is refused leaves nothing behind.

    Raises NotRunningError without a supervisor, RefusedError while another update is in flight.
    """
    if not control.is_running(home):
        raise NotRunningError(
            f"The app in {home.root} does not run under Surefoot.",
            next_step="Start it with `surefoot run`.",
        )
    _refuse_in_flight(home, request)
    try:
        requests.put(home, request)
    except RefusedError:
        control.send(home, "update")  # the one that waits may have been overlooked
        raise
    try:
        # An update may have begun between the first look and the request.
        _refuse_in_flight(home, request)
        control.send(home, "update")
    except BaseException:
        requests.withdraw(home, request)
        raise


def _refuse_in_flight(home: Home, request: Request) -> None:
    try:
        update = Lock(home).read()
    except DamagedError as error:
        raise RefusedError(
            error.message, next_step="End `surefoot run` and start it again: that repairs it."
        ) from None
    if update is None or update.id == request.id:
        return
    if update.state is not State.BROKEN:
        raise RefusedError(
            f"Another update is in flight (state `{update.state}`, {update.from_} to {update.to}).",
            next_step="See it with `surefoot status`.",
        )
    if request.kind == "update":
        raise RefusedError(
            f"The last update ended as broken: {update.reason}",
            next_step="Mend the cause, then `surefoot rollback`.",
        )
