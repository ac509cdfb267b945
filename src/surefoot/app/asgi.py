"""The maintenance answer for ASGI apps: FastAPI, Starlette, Litestar, Quart, Django.

app.add_middleware(MaintenanceMiddleware)   # last, so that it runs first
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surefoot.app.maintenance import STATIC_PREFIXES, TOKEN_HEADER, Maintenance

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable, MutableMapping, Sequence

    from surefoot.app.maintenance import Answer

    Message = MutableMapping[str, Any]
    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

HOLD_S = 5.0
LOOK_EVERY_S = 0.02
TRY_AGAIN_LATER = 1013
"""The code of a closed WebSocket (RFC 6455, registry of close codes)."""


class MaintenanceMiddleware:
    """Keeps everybody but the prober out while the release is in probation or goes back.

    Reads the lock when it is made. Open, it costs one look at an attribute; without Surefoot it is
    always open.

    While a release is judged, requests first wait, for up to `hold_s` seconds: mostly it is found
    healthy before that, and whoever has waited is served as if nothing had been.

    Paths under `api_prefixes` get JSON: by default those that surefoot.toml names ([gate] api).
    """

    def __init__(
        self,
        app: App,
        *,
        api_prefixes: Sequence[str] | None = None,
        static_prefixes: Sequence[str] = STATIC_PREFIXES,
        hold_s: float = HOLD_S,
    ) -> None:
        self.app = app
        self.hold_s = hold_s
        self.maintenance = Maintenance(api_prefixes=api_prefixes, static_prefixes=static_prefixes)
        self._watching: Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.maintenance.is_closed and scope["type"] in {"http", "websocket"}:
            answer = await self._turned_away(scope)
            if answer is not None:
                await _send(answer, scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _turned_away(self, scope: Scope) -> Answer | None:
        """The answer for a request that has waited in vain; None for one that may pass."""
        asked = (_path(scope), _header(scope, TOKEN_HEADER), _header(scope, "Accept-Language"))
        answer = self.maintenance.turn_away(*asked)
        if answer is None or not self.maintenance.is_judged:
            return answer
        import asyncio  # loaded anyway, where an ASGI server runs

        await asyncio.wait([self._verdict()], timeout=self.hold_s)
        return self.maintenance.turn_away(*asked)

    def _verdict(self) -> Task[None]:
        """Ends when the release is judged no longer. One watches for all who wait: were each to
        look for itself, a thousand of them would leave no time to answer the prober."""
        import asyncio

        loop = asyncio.get_running_loop()
        found = self._watching
        if found is None or found.done() or found.get_loop() is not loop:
            found = self._watching = loop.create_task(self._watch())
        return found

    async def _watch(self) -> None:
        import asyncio

        while self.maintenance.is_judged:
            await asyncio.sleep(LOOK_EVERY_S)
            self.maintenance.look_again()


async def _send(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
            return
        kind = "websocket.http.response"
    headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
    if kind == "http.response" and scope.get("http_version", "").startswith("1"):
        # A kept connection would end with the release, maybe just when its next request comes.
        headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})


def _path(scope: Scope) -> str:
    """The path as the app's routes see it, whether or not the server puts root_path before it."""
    path: str = scope["path"]
    root: str = scope.get("root_path") or ""
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _header(scope: Scope, name: str) -> str:
    wanted = name.lower().encode()
    value: bytes
    for key, value in scope["headers"]:
        if key == wanted:
            return value.decode("latin-1")
    return ""
