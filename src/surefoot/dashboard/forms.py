"""What the forms of the pages do; each answers with the path of the page that comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from surefoot.dashboard import actions
from surefoot.dashboard.actions import Wanted
from surefoot.dashboard.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.dashboard.view import View
    from surefoot.update.lock import Kind

Form = Mapping[str, str]

_KINDS = ("update", "rollback", "restore")


def _who(view: View) -> str:
    assert view.visitor is not None  # noqa: S101 - admitted
    return actions.who(view.visitor, view.board.access.address(view.request))


def _ask(view: View, form: Form) -> str:
    kind = form.get("kind", "")
    if kind not in _KINDS:
        raise BadRequestError("The form does not say what is asked for.")
    wanted = Wanted(
        kind=cast("Kind", kind),
        ref=form.get("ref", "").strip() or None,
        backup=form.get("backup") or None,
        with_release="with_release" in form,
        accept_data_changes="accept_data_changes" in form,
        restore_database="restore_database" in form,
    )
    return f"/updates/{quote(actions.ask(view.board.home, wanted, _who(view)))}"


def _hold(view: View, form: Form) -> str:
    if "release" in form:
        actions.release_hold(view.board.home, _who(view))
    else:
        actions.place_hold(view.board.home, form.get("reason", "").strip()[:500], _who(view))
    return "/"


def _allow(view: View, form: Form) -> str:
    actions.allow(view.board.home, form.get("release", ""), _who(view))
    return "/releases"


def _look(view: View, _form: Form) -> str:
    view.board.reader.look(max_age_s=0)
    return "/"


ACTIONS: dict[str, Callable[[View, Form], str]] = {
    "/ask": _ask,
    "/hold": _hold,
    "/allow": _allow,
    "/look": _look,
}
