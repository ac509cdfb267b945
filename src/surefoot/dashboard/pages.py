"""The pages, made by the server; they work without JavaScript."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from surefoot.dashboard import confirmation, forms, plot, reading
from surefoot.dashboard.errors import (
    NotFoundError,
    NotLoggedInError,
    TooLargeError,
    TooManyTriesError,
    WrongTokenError,
)
from surefoot.dashboard.plot import Bar
from surefoot.dashboard.view import LANGUAGE_COOKIE, STATIC, View, static
from surefoot.dashboard.wording import LANGUAGES
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import HTTPConnection, Request

    from surefoot.dashboard.board import Board
    from surefoot.dashboard.forms import Form
    from surefoot.dashboard.reading import Update
    from surefoot.dashboard.wording import Wording
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
        Route("/login", functools.partial(_log_in_form, board), methods=["GET"]),
        Route("/login", functools.partial(_log_in, board), methods=["POST"]),
        Route("/logout", functools.partial(_log_out, board), methods=["POST"]),
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
        "steps": reading.steps(state, durations, overlaps=overlaps) if state else [],
        "progress": reader.progress() if state is State.REQUESTED else "",
        "lately": lately[:LATELY],
        "tried": _tried(reader.available.found, lately),
        "plots": _plots(view.wording, lately),
        "plotted": [name for name in _PLOTTED if name in {u.outcome for u in lately}],
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
        "steps": reading.steps(state, durations, overlaps=overlaps) if state else [],
        "backwards": state in reading.BACK_STATES,
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


_PLOTTED = ("committed", "rolled_back", "abandoned", "broken")


@dataclass(frozen=True)
class _Plot:
    title: str
    svg: str


def _plots(t: Wording, lately: list[Update]) -> list[_Plot]:
    found = []
    for title, key, name in (
        ("plot_downtime", "downtime_s", "downtime"),
        ("plot_duration", "duration_s", "duration"),
    ):
        shown = [
            (update, value)
            for update in reading.ended(lately)
            if (value := getattr(update, key)) is not None and update.outcome in _PLOTTED
        ]
        if len(shown) < 2:
            continue
        values = [value for _, value in shown]
        top = plot.round_top(max(values))
        bars = [
            Bar(
                value,
                update.outcome or "",
                f"{update.ref or update.to}: {t('outcome_' + (update.outcome or 'in_flight'))}, "
                f"{t(name)} {t.span(value)}",
            )
            for update, value in shown
        ]
        told = t("plot_told", n=len(bars), last=t.span(values[-1]), most=t.span(max(values)))
        ticks = [(value, t.tick(value)) for value in (0.0, top / 2, top)]
        svg = plot.bars(bars, label=f"{t(title)}. {told}", ticks=ticks)
        found.append(_Plot(t(title), svg))
    return found


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
    form = await form_of(request)

    def made() -> Response:
        view = View(board, request, board.access.admit(request))
        assert view.visitor is not None  # noqa: S101 - admitted
        board.access.check_change(request, view.visitor, form.get("csrf", ""))
        return RedirectResponse(f"{view.base}{act(view, form)}", 303)

    return await run_in_threadpool(made)


# -- logging in and out


async def _log_in_form(board: Board, request: Request) -> Response:
    def made() -> Response:
        view = View(board, request, None)
        to = _inside(request.query_params.get("to", ""))
        if board.access.visitor(request) is not None:
            return RedirectResponse(f"{view.base}{to}", 303)
        return HTMLResponse(view.fill("login.html", to=to, error=""))

    return await run_in_threadpool(made)


async def _log_in(board: Board, request: Request) -> Response:
    board.access.check_origin(request, required=False)
    form = await form_of(request)
    to = _inside(form.get("to", ""))

    def made() -> Response:
        view, access = View(board, request, None), board.access
        try:
            session = access.log_in(
                form.get("token", "").strip(), form.get("name", ""), access.address(request)
            )
        except WrongTokenError:
            page = view.fill("login.html", to=to, error=view.wording("wrong_token"))
            return HTMLResponse(page, 403)
        except TooManyTriesError as error:
            said = view.wording("too_many_tries", n=error.wait_s)
            page = view.fill("login.html", to=to, error=said)
            return HTMLResponse(page, 429, error.headers)
        answer = RedirectResponse(f"{view.base}{to}", 303)
        answer.set_cookie(
            access.cookie,
            session,
            max_age=int(board.settings.session_s),
            path=view.base or "/",
            secure=access.is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return answer

    return await run_in_threadpool(made)


async def _log_out(board: Board, request: Request) -> Response:
    form = await form_of(request)

    def made() -> Response:
        view = View(board, request, board.access.admit(request))
        assert view.visitor is not None  # noqa: S101 - admitted
        board.access.check_csrf(request, view.visitor, form.get("csrf", ""))
        board.access.log_out(request)
        answer = RedirectResponse(f"{view.base}/login", 303)
        answer.delete_cookie(board.access.cookie, path=view.base or "/")
        return answer

    return await run_in_threadpool(made)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; of one that comes twice, the last. Raises TooLargeError."""
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > _FORM_LIMIT:
            raise TooLargeError
    pairs = parse_qsl(received.decode("utf-8", errors="replace"), keep_blank_values=True)
    return dict(pairs)


_FORM_LIMIT = 16 * 1024


def _inside(path: str) -> str:
    """A path of ours to go to; never another host."""
    return path if path.startswith("/") and path[1:2] not in {"/", "\\"} else "/"


async def _language(request: Request) -> Response:
    base = str(request.scope.get("root_path", ""))
    answer = RedirectResponse(f"{base}{_inside(request.query_params.get('to', ''))}", 303)
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
