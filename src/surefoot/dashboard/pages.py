"""The pages, made by the server; they work without JavaScript."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from surefoot.dashboard import body, confirmation, forms, login, plot, progress, reading
from surefoot.dashboard.errors import (
    NotFoundError,
    NotLoggedInError,
)
from surefoot.dashboard.view import LANGUAGE_COOKIE, STATIC, View, static
from surefoot.dashboard.wording import LANGUAGES
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import HTTPConnection, Request

    from surefoot.dashboard.board import Board
    from surefoot.dashboard.forms import Form
    from surefoot.dashboard.updates import Update
    from surefoot.errors import SurefootError
    from surefoot.reports import Available

LATELY = 8
PLOTTED = 24
REFRESH_S = 2
"""How often a page of an update in flight is loaded again where there is no JavaScript."""
_YEAR_S = 31_536_000


def routes(board: Board) -> list[Route]:
    """Every page and form."""

    def page(path: str, make: Callable[[View], Response]) -> Route:
        return Route(path, functools.partial(_page, board, make), methods=["GET"])

    return [
        page("/", _overview),
        page("/updates", _updates),
        page("/updates/{id}", _update),
        page("/releases", _releases),
        page("/backups", _backups),
        page("/confirm", confirmation.page),
        *(
            Route(path, functools.partial(_form, board, act), methods=["POST"])
            for path, act in forms.ACTIONS.items()
        ),
        *login.routes(board),
        Route("/language/{code}", _language, methods=["GET"]),
        Route("/static/{name}", _file, methods=["GET"]),
    ]


async def _page(board: Board, make: Callable[[View], Response], request: Request) -> Response:
    def made() -> Response:
        return make(View(board, request, board.access.admit(request)))

    return await run_in_threadpool(made)


# -- what is shown


def overview_parts(view: View) -> dict[str, str]:
    """The parts of the first page, by their id."""
    reader = view.board.reader
    status = reader.status()
    lately = reader.updates(PLOTTED)
    releases = reader.releases()
    previous = next(
        (r for r in releases if r.committed_at and not r.current and r.denied is None), None
    )
    state = status.update.state if status.update else None
    durations, overlaps = reader.durations()
    values = {
        "status": status,
        "health": reader.known_health,
        "available": reader.available,
        "previous": previous if status.update is None else None,
        "steps": progress.steps(state, durations, overlaps=overlaps) if state else [],
        "progress": reader.progress() if state is State.REQUESTED else "",
        "lately": lately[:LATELY],
        "tried": _tried(reader.available.found, lately),
        "plots": plot.of_updates(view.wording, lately),
        "plotted": [name for name in plot.PLOTTED if name in {u.outcome for u in lately}],
        "names": reader.names(),
    }
    return {
        part: view.fill(f"parts/{part}.html", **values).strip()
        for part in ("alerts", "flight", "now", "lately")
    }


def _tried(found: Available | None, lately: list[Update]) -> Update | None:
    """The last update to the newest release, where it came to nothing."""
    last = next((u for u in lately if found and u.to == found.newest.release and u.outcome), None)
    return last if last and last.outcome in {"abandoned", "rolled_back"} else None


def _overview(view: View) -> Response:
    from markupsafe import Markup

    parts = {name: Markup(html) for name, html in overview_parts(view).items()}  # noqa: S704 - ours
    in_flight = view.board.home.lock.exists() or view.board.home.request.exists()
    refresh_s = REFRESH_S if in_flight else 0
    return HTMLResponse(view.fill("overview.html", parts=parts, live="/live", refresh_s=refresh_s))


def update_parts(view: View, name: str) -> dict[str, str]:
    """The part of an update's page. Raises NotFoundError for one that there is not."""
    reader = view.board.reader
    status = reader.status()
    told = reader.update(name)
    if told is None and not reader.is_waiting(name):
        raise NotFoundError(f"The history knows no update {name[:100]!r}.")
    flight = status.update if status.update and status.update.id == name else None
    state = flight.state if flight else None
    if state is None and told is not None and told.update.outcome in _STATES:
        state = State(told.update.outcome)
    durations, overlaps = reader.durations()
    if not flight:
        durations = told.update.durations if told else {}
        overlaps = "overlap" in durations
    begun_at = told.update.begun_at if told else datetime.now(UTC)
    values = {
        "name": name,
        "status": status,
        "told": told,
        "flight": flight,
        "elapsed_s": float(round((datetime.now(UTC) - begun_at).total_seconds())),
        "steps": progress.steps(state, durations, overlaps=overlaps) if state else [],
        "backwards": state in progress.BACK_STATES,
        "progress": reader.progress() if state is State.REQUESTED else "",
    }
    return {"told": view.fill("parts/told.html", **values).strip()}


_STATES = {str(state) for state in State}


def _update(view: View) -> Response:
    from markupsafe import Markup

    name = view.request.path_params["id"]
    parts = update_parts(view, name)
    told = view.board.reader.update(name)
    is_over = told is not None and told.update.outcome is not None
    return HTMLResponse(
        view.fill(
            "update.html",
            told=told,
            parts={k: Markup(v) for k, v in parts.items()},  # noqa: S704 - ours
            live="" if is_over else f"/live?update={quote(name)}",
            refresh_s=0 if is_over else REFRESH_S,
        )
    )


def _updates(view: View) -> Response:
    found = view.board.reader.updates(reading.REMEMBERED)
    return HTMLResponse(view.fill("updates.html", found=found))


def _releases(view: View) -> Response:
    reader = view.board.reader
    return HTMLResponse(
        view.fill(
            "releases.html",
            found=reader.releases(),
            denied=reader.status().denied,
            names=reader.names(),
        )
    )


def _backups(view: View) -> Response:
    reader = view.board.reader
    return HTMLResponse(view.fill("backups.html", found=reader.backups(), names=reader.names()))


def problem(
    board: Board,
    request: HTTPConnection,
    error: SurefootError,
    status: int,
    headers: Mapping[str, str],
) -> Response:
    """The page that says what did not work; whoever is not logged in is asked to."""
    base = str(request.scope.get("root_path", ""))
    if isinstance(error, NotLoggedInError) and request.scope.get("method") in {"GET", "HEAD"}:
        view = View(board, request, None)
        to = str(request.scope["path"]).removeprefix(base)
        return RedirectResponse(f"{view.base}/login?to={quote(to)}", 303)
    visitor = None
    if status not in {421, 429}:
        visitor = board.access.visitor(request)
    page = View(board, request, visitor).fill("problem.html", error=error, status_code=status)
    return HTMLResponse(page, status, headers)


async def _form(board: Board, act: Callable[[View, Form], str], request: Request) -> Response:
    """Does what a form asks for; answers with the page to go to."""
    form = await body.fields(request)

    def made() -> Response:
        view = View(board, request, board.access.admit(request))
        assert view.visitor is not None  # noqa: S101 - admitted
        board.access.check_change(request, view.visitor, form.get("csrf", ""))
        return RedirectResponse(f"{view.base}{act(view, form)}", 303)

    return await run_in_threadpool(made)


# -- besides


async def _language(request: Request) -> Response:
    base = str(request.scope.get("root_path", ""))
    answer = RedirectResponse(f"{base}{login.inside(request.query_params.get('to', ''))}", 303)
    if (code := request.path_params["code"]) in LANGUAGES:
        answer.set_cookie(
            LANGUAGE_COOKIE, code, max_age=_YEAR_S, path=base or "/", httponly=True, samesite="lax"
        )
    return answer


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        raise NotFoundError("There is no such file.")
    return Response(
        static(name),
        media_type=STATIC[name],
        headers={"Cache-Control": f"public, max-age={_YEAR_S}, immutable"},
    )
