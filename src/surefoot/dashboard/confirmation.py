"""The page before an action: what it will cost, what is kept, and what is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

from surefoot import config
from surefoot.dashboard.errors import BadRequestError, NotFoundError, ReadOnlyError
from surefoot.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from starlette.responses import Response

    from surefoot.dashboard.updates import Told
    from surefoot.dashboard.view import View


def page(view: View) -> Response:
    """Raises BadRequestError or NotFoundError where what is named is not there."""
    if not view.may_change:
        raise ReadOnlyError
    query = view.request.query_params
    action = query.get("action", "")
    if action not in _ACTIONS:
        raise BadRequestError("It is not said what is to be confirmed.")
    values = _ACTIONS[action](view, query)
    return HTMLResponse(view.fill("confirm.html", action=action, **_common(view, action) | values))


def _common(view: View, action: str) -> dict[str, Any]:
    reader = view.board.reader
    status = reader.status()
    try:
        loaded = config.load(view.board.home.root)
        databases, kept = len(loaded.database), loaded.keep.backups
    except ConfigurationError:
        databases, kept = 0, 0
    return {
        "status": status,
        "window_s": reader.expected_window_s(action),
        "staging_s": reader.expected_staging_s(action),
        "databases": databases,
        "kept": kept,
        "ref": None,
        "target": None,
        "told": None,
        "backup": None,
    }


def _update(view: View, query: Mapping[str, str]) -> dict[str, Any]:
    ref = query.get("ref") or None
    found = view.board.reader.available.found
    is_newest = found is not None and ref in {None, found.newest.ref, found.newest.release}
    told = _held(view, query) if "held" in query else None
    return {
        "ref": ref,
        "target": view.board.reader.names().get(found.newest.release)
        if found and is_newest
        else ref,
        "changes": found.changes if found and is_newest else [],
        "denied": found.denied if found and is_newest else None,
        "told": told,
    }


def _rollback(view: View, query: Mapping[str, str]) -> dict[str, Any]:
    ref = query.get("ref") or None
    names = view.board.reader.names()
    if ref is not None and ref not in names and ref not in names.values():
        raise NotFoundError(f"There is no release {ref[:100]!r}.")
    return {
        "ref": ref,
        "target": names.get(ref, ref) if ref else None,
        "told": _held(view, query) if "held" in query else None,
    }


def _restore(view: View, query: Mapping[str, str]) -> dict[str, Any]:
    name = query.get("backup", "")
    for backup in view.board.reader.backups():
        if backup.name == name and not backup.damage:
            target = view.board.reader.names().get(backup.release or "", backup.release)
            return {"backup": backup, "target": target}
    raise NotFoundError(f"There is no sound backup {name[:100]!r}.")


def _hold(_view: View, _query: Mapping[str, str]) -> dict[str, Any]:
    return {}


def _held(view: View, query: Mapping[str, str]) -> Told:
    """The update that waits for a person to agree."""
    told = view.board.reader.update(query["held"])
    if told is None or not told.update.held:
        raise NotFoundError(f"No update {query['held'][:100]!r} waits for a person.")
    return told


_ACTIONS: dict[str, Callable[[View, Mapping[str, str]], dict[str, Any]]] = {
    "update": _update,
    "rollback": _rollback,
    "restore": _restore,
    "hold": _hold,
}
