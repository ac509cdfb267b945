"""The dashboard of one home, as an ASGI app."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from surefoot import config
from surefoot.dashboard import api, body, live, metrics, openapi, pages
from surefoot.dashboard.access import Access
from surefoot.dashboard.errors import (
    BadMethodError,
    BadRequestError,
    NotFoundError,
    RequestError,
    status_of,
)
from surefoot.dashboard.reading import Reader
from surefoot.errors import SurefootError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import HTTPConnection, Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from surefoot.config import Dashboard
    from surefoot.home import Home

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass
class Board:
    """What every page and operation works with."""

    home: Home
    settings: Dashboard
    identify: Callable[[HTTPConnection], str | None] | None = None
    reader: Reader = field(init=False)
    access: Access = field(init=False)

    def __post_init__(self) -> None:
        self.reader = Reader(self.home)
        self.access = Access(self.home.dashboard, self.settings, self.identify)


def create_app(
    home: Home,
    settings: Dashboard | None = None,
    *,
    identify: Callable[[HTTPConnection], str | None] | None = None,
) -> ASGIApp:
    """The dashboard, to be served, or mounted in another ASGI app below any path.

    Without `settings`, `[dashboard]` of the home's surefoot.toml counts. `identify` lets the app
    that it is mounted in say who asks: the name of somebody who may use it, else None, and then
    they have to log in. Raises ConfigurationError where the token cannot be kept or read.
    """
    board = Board(home, settings or config.load(home.root).dashboard, identify)
    routes = [
        *pages.routes(board),
        *live.routes(board),
        *metrics.routes(board),
        Route("/api/openapi.json", _description),
        *(
            Route(
                f"/api{operation.path}",
                partial(_operate, board, operation),
                methods=[operation.method],
                name=f"api_{operation.name}",
            )
            for operation in api.OPERATIONS
        ),
    ]
    app = Starlette(
        routes=_merged(routes),
        exception_handlers={
            SurefootError: partial(_failed, board),
            HTTPException: partial(_not_served, board),
        },
    )
    return _Guarded(app, board)


@dataclass
class _Guarded:
    """Turns away who asks for a foreign host, and gives every answer its headers."""

    app: ASGIApp
    board: Board

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from starlette.requests import Request

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = dict(_HEADERS)
                if b"cache-control" not in present:
                    added["Cache-Control"] = "no-store"
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in added.items()),
                ]
            await send(message)

        request = Request(scope, receive)
        try:
            self.board.access.check_host(request)
        except RequestError as error:
            answer = await _failed(self.board, request, error)
            await answer(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


async def _operate(board: Board, operation: api.Operation, request: Request) -> Response:
    """Answers one call of the API."""
    visitor = await run_in_threadpool(board.access.admit, request)
    if operation.changes:
        csrf = request.headers.get("x-csrf-token", "")
        board.access.check_change(request, visitor, csrf)
    received = await body.read(request)
    call = api.Call(
        board,
        visitor,
        request.path_params,
        request.query_params,
        _decoded(request, received, operation.body) if operation.body is not None else None,
        board.access.address(request),
    )
    found = await run_in_threadpool(operation.run, call)
    if operation.answer is None:
        return Response(status_code=operation.status)
    return _json(found, operation.status)


def _decoded(request: Request, received: bytes, kind: Any) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415)
    try:
        return msgspec.json.decode(received, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequestError(f"The body is not what is expected: {error}.") from None


async def _description(request: Request) -> Response:
    """Says nothing that is not in the documentation: it needs no log-in."""
    return _json(openapi.describe(f"{request.scope.get('root_path', '')}/api"))


async def _failed(board: Board, request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, SurefootError)  # noqa: S101 - registered for nothing else
    status, code = status_of(error)
    headers = dict(error.headers) if isinstance(error, RequestError) else {}
    if is_api(request):
        told = api.Error(code=code, message=error.message, next_step=error.next_step)
        return _json(told, status, headers)
    return await run_in_threadpool(pages.problem, board, request, error, int(status), headers)


async def _not_served(board: Board, request: HTTPConnection, error: Exception) -> Response:
    """What no route answers, or not by this method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    found: RequestError = NotFoundError("There is nothing at this address.")
    if error.status_code == 405:
        found = BadMethodError("This address does not answer to that method.")
    elif error.status_code == 415:
        found = BadRequestError("The body is not JSON (application/json).")
        found.status, found.code = error.status_code, "not_json"  # type: ignore[assignment]
    answer = await _failed(board, request, found)
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


def is_api(request: HTTPConnection) -> bool:
    """Whether a program asks."""
    path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", ""))
    return path in {"/api", metrics.PATH} or path.startswith("/api/")


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _merged(routes: list[Route]) -> list[Route]:
    """Starlette answers by the first route that has the path: those of one path are put together,
    so that a wrong method is told apart from a wrong address."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        for method in route.methods or ():
            with suppress(KeyError):
                by_path.setdefault(route.path, {})[method] = route
    merged = []
    for path, methods in by_path.items():
        if len({id(route) for route in methods.values()}) == 1:
            merged.append(next(iter(methods.values())))
        else:
            merged.append(Route(path, partial(_by_method, methods), methods=list(methods)))
    return merged


async def _by_method(methods: dict[str, Route], request: Request) -> Response:
    answer = await methods[request.method].endpoint(request)
    assert isinstance(answer, Response)  # noqa: S101 - every endpoint of ours answers so
    return answer
