"""The JSON API: one table of operations, which is served and from which it is described."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from surefoot import reports
from surefoot.dashboard import actions, health, reading, updates
from surefoot.dashboard.errors import BadRequestError, NotFoundError
from surefoot.update.hold import Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from surefoot.dashboard.access import Visitor
    from surefoot.dashboard.board import Board
    from surefoot.home import Home

LONGEST_LIST = 200


@dataclass(frozen=True)
class Call:
    """One request, checked."""

    board: Board
    visitor: Visitor
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    address: str = ""

    @property
    def home(self) -> Home:
        return self.board.home

    @property
    def who(self) -> str:
        return actions.who(self.visitor, self.address)

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a whole number from 1 to LONGEST_LIST."""
        text = self.query.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= LONGEST_LIST):
            raise BadRequestError(f"`{name}` is a whole number from 1 to {LONGEST_LIST}.")
        return int(text)


@dataclass(frozen=True)
class Operation:
    """One line of the table."""

    method: str
    path: str
    """Below `/api`; parameters in braces."""
    name: str
    summary: str
    answer: Any
    """The type of what is answered; None: nothing is."""
    run: Callable[[Call], Any]
    status: int = 200
    changes: bool = False
    body: Any = None
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """JSON schemas of the query parameters."""
    errors: tuple[int, ...] = ()
    """Statuses of errors beside those that any operation may have."""


class Error(msgspec.Struct, frozen=True, kw_only=True):
    """What every error answers."""

    code: str
    message: str
    """What failed, and what was left untouched."""
    next_step: str
    """What to do about it; may be empty."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    name: str
    via: str
    csrf_token: str
    """To be sent as X-CSRF-Token with every change; empty where none is needed."""
    read_only: bool


def _session(call: Call) -> Session:
    return Session(
        name=call.visitor.name,
        via=call.visitor.via,
        csrf_token=call.visitor.csrf,
        read_only=call.board.settings.read_only,
    )


def _update(call: Call) -> updates.Told:
    found = call.board.reader.update(call.path["id"])
    if found is None:
        raise NotFoundError(f"The history knows no update {call.path['id'][:100]!r}.")
    return found


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The update that was asked for."""

    id: str
    """To be looked for in /updates/{id}. It is not there before the supervisor has taken it up."""


class HoldWanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why."""

    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


def _ask(call: Call) -> Asked:
    return Asked(id=actions.ask(call.home, call.body, call.who))


def _hold(call: Call) -> Hold:
    return actions.place_hold(call.home, call.body.reason, call.who)


_LIMIT = {"type": "integer", "minimum": 1, "maximum": LONGEST_LIST, "default": 50}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET", "/session", "session", "Who you are, and what a change must bring along.",
        Session, _session,
    ),
    Operation(
        "GET", "/status", "status",
        "What runs, what is in flight, how the last update ended, what is denied.",
        reports.Status, lambda call: call.board.reader.status(),
    ),
    Operation(
        "GET", "/health", "health", "What the app answers to the configured question.",
        health.Health, lambda call: call.board.reader.health(),
    ),
    Operation(
        "GET", "/available", "available",
        "What an update would bring, with its commits. The source is asked if it was not lately.",
        reading.Availability, lambda call: call.board.reader.look(),
    ),
    Operation(
        "GET", "/updates", "updates", "The last updates, the newest first.",
        list[updates.Update],
        lambda call: call.board.reader.updates(call.number("limit", 50)),
        query={"limit": _LIMIT}, errors=(400,),
    ),
    Operation(
        "GET", "/updates/{id}", "update",
        "One update in full: its events, its rehearsals, and the output of what failed.",
        updates.Told, _update, errors=(404,),
    ),
    Operation(
        "GET", "/releases", "releases", "The releases on disk, the newest first.",
        list[reports.Release], lambda call: call.board.reader.releases(),
    ),
    Operation(
        "GET", "/backups", "backups", "The backups of the databases, the newest first.",
        list[reports.Backup], lambda call: call.board.reader.backups(),
    ),
    Operation(
        "POST", "/updates", "ask",
        "Ask for an update, a rollback or a restore. The supervisor does it; this returns at once.",
        Asked, _ask, status=202, changes=True, body=actions.Wanted,
    ),
    Operation(
        "PUT", "/hold", "hold", "Keep updates from starting by themselves.",
        Hold, _hold, changes=True, body=HoldWanted,
    ),
    Operation(
        "DELETE", "/hold", "release_hold", "Let updates start by themselves again.",
        None, lambda call: actions.release_hold(call.home, call.who), status=204, changes=True,
    ),
    Operation(
        "DELETE", "/denied/{release}", "allow", "Take a release off the denylist.",
        None, lambda call: actions.allow(call.home, call.path["release"], call.who),
        status=204, changes=True,
    ),
)  # fmt: skip
