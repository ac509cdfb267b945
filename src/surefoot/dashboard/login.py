"""Logging in and out."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from surefoot.dashboard import body
from surefoot.dashboard.errors import TooManyTriesError, WrongTokenError
from surefoot.dashboard.view import View

if TYPE_CHECKING:
    from starlette.requests import Request

    from surefoot.dashboard.board import Board


def routes(board: Board) -> list[Route]:
    return [
        Route("/login", functools.partial(_log_in_form, board), methods=["GET"]),
        Route("/login", functools.partial(_log_in, board), methods=["POST"]),
        Route("/logout", functools.partial(_log_out, board), methods=["POST"]),
    ]


async def _log_in_form(board: Board, request: Request) -> Response:
    def made() -> Response:
        view = View(board, request, None)
        to = inside(request.query_params.get("to", ""))
        if board.access.visitor(request) is not None:
            return RedirectResponse(f"{view.base}{to}", 303)
        return HTMLResponse(view.fill("login.html", to=to, error=""))

    return await run_in_threadpool(made)


async def _log_in(board: Board, request: Request) -> Response:
    board.access.check_origin(request, required=False)
    form = await body.fields(request)
    to = inside(form.get("to", ""))

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
    form = await body.fields(request)

    def made() -> Response:
        view = View(board, request, board.access.admit(request))
        assert view.visitor is not None  # noqa: S101 - admitted
        board.access.check_csrf(request, view.visitor, form.get("csrf", ""))
        board.access.log_out(request)
        answer = RedirectResponse(f"{view.base}/login", 303)
        answer.delete_cookie(board.access.cookie, path=view.base or "/")
        return answer

    return await run_in_threadpool(made)


def inside(path: str) -> str:
    """A path of ours to go to; never another host."""
    return path if path.startswith("/") and path[1:2] not in {"/", "\\"} else "/"
