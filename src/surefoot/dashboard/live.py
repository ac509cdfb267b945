"""Sends the parts of a page that have changed, as server-sent events, for as long as it is open."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio import to_thread
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from surefoot import control
from surefoot.dashboard import pages
from surefoot.dashboard.errors import NotFoundError
from surefoot.dashboard.view import View
from surefoot.errors import NotRunningError
from surefoot.update import requests
from surefoot.update.lock import is_engine_at_work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from surefoot.dashboard.board import Board

LOOK_INTERVAL_S = 0.2
REFRESH_S = 15.0
"""How often all is made anew, for the times that it names; it also keeps the connection alive."""
RETRY_MS = 1000
"""How long a browser waits before it connects again."""
HEALTH_INTERVAL_S = 5.0
OVERLOOKED_AFTER_S = 3.0
"""How long a request may wait while no engine is at work, until the supervisor is woken again."""
LONGEST_S = 3600.0
"""After which a browser connects anew, and shows that it may."""


def routes(board: Board) -> list[Route]:
    return [Route("/live", functools.partial(_live, board), methods=["GET"])]


async def _live(board: Board, request: Request) -> Response:
    visitor = await run_in_threadpool(board.access.admit, request)
    view = View(board, request, visitor)
    update = request.query_params.get("update")
    make = pages.overview_parts
    if update is not None:
        make = functools.partial(pages.update_parts, name=update)
    return StreamingResponse(
        _events(view, make),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(view: View, make: Callable[[View], dict[str, str]]) -> AsyncIterator[bytes]:
    yield f"retry: {RETRY_MS}\n\n".encode()
    reader = view.board.reader
    sent: dict[str, str] = {}
    trace: object = None
    made_s = asked_s = -REFRESH_S
    end_s = time.monotonic() + LONGEST_S
    waker = _Waker(view.board)
    async with anyio.create_task_group() as background:
        while (now_s := time.monotonic()) < end_s and not await view.is_gone():
            if now_s - asked_s > HEALTH_INTERVAL_S:
                asked_s = now_s
                background.start_soon(_ask, reader.health)
                background.start_soon(_ask, reader.look)
            found = await to_thread.run_sync(reader.trace)
            if found != trace or now_s - made_s > REFRESH_S:
                trace, made_s = found, now_s
                try:
                    parts = await to_thread.run_sync(make, view)
                except NotFoundError:
                    yield b"event: gone\ndata:\n\n"
                    break
                yield b": still here\n\n"
                for name, html in parts.items():
                    if sent.get(name) != html:
                        sent[name] = html
                        told = msgspec.json.encode({"id": name, "html": html})
                        yield b"event: part\ndata: " + told + b"\n\n"
            await to_thread.run_sync(waker.look)
            await anyio.sleep(LOOK_INTERVAL_S)
        background.cancel_scope.cancel()


async def _ask(question: Callable[[], object]) -> None:
    await to_thread.run_sync(question, abandon_on_cancel=True)


class _Waker:
    """Wakes the supervisor for a request that it has overlooked, being started anew itself."""

    def __init__(self, board: Board) -> None:
        self._home = board.home
        self._busy_s = time.monotonic()

    def look(self) -> None:
        now_s = time.monotonic()
        if requests.waiting(self._home) is None or is_engine_at_work(self._home):
            self._busy_s = now_s
        elif now_s - self._busy_s > OVERLOOKED_AFTER_S:
            self._busy_s = now_s
            try:
                control.send(self._home, "update")
            except NotRunningError:
                return
