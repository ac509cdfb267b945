from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from surefoot.app.asgi import LOOK_EVERY_S, MaintenanceMiddleware
from surefoot.app.maintenance import Maintenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.app.conftest import Home


def create_app(hold_s: float = 0) -> FastAPI:
    app = FastAPI()

    @app.get("/{path:path}", response_class=PlainTextResponse)
    def answer(path: str) -> str:
        return f"app: {path}"

    app.add_middleware(MaintenanceMiddleware, hold_s=hold_s)
    return app


@contextmanager
def served(app: Any) -> Iterator[int]:
    """Runs a real uvicorn in a thread; yields its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=given)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_a_fastapi_app_is_closed_in_probation_and_opens_at_the_commit(home: Home) -> None:
    home.write_lock("probation", token="secret")
    with served(create_app()) as port:
        status, headers, body = ask(port, "/api/items")
        assert (status, json.loads(body)["code"]) == (503, "maintenance")
        assert (headers["Retry-After"], headers["Connection"]) == ("5", "close")
        status, headers, body = ask(port, "/home", Accept_Language="zh-CN")
        assert (status, headers["Content-Language"]) == (503, "zh-Hans")
        assert "马上回来" in body.decode()
        assert ask(port, "/home", "HEAD")[::2] == (503, b"")
        assert ask(port, "/api/items", "POST")[0] == 503
        assert ask(port, "/static/app.css")[2] == b"app: static/app.css"
        assert ask(port, "/home", X_Surefoot_Probe="secret")[2] == b"app: home"
        assert ask(port, "/home", X_Surefoot_Probe="guess")[0] == 503
        home.lock.unlink()
        _, headers, body = ask(port, "/home")
        assert (headers["Connection"], body) == (None, b"app: home")


def ask_and_then(app: FastAPI, change: Callable[[], object]) -> tuple[int, bytes]:
    """Asks, and makes the change while the answer is waited for."""
    with served(app) as port, ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask, port, "/home")
        time.sleep(0.3)
        assert not asked.done()
        change()
        status, _, body = asked.result()
    return status, body


def test_whoever_waits_in_probation_is_served_at_the_commit(home: Home) -> None:
    home.write_lock("probation")
    assert ask_and_then(create_app(hold_s=60), home.lock.unlink) == (200, b"app: home")


def test_whoever_waits_is_sent_away_at_once_when_the_release_goes_back(home: Home) -> None:
    home.write_lock("probation")
    status, _ = ask_and_then(create_app(hold_s=60), lambda: home.write_lock("rolling_back"))
    assert status == 503


def test_a_crowd_that_waits_is_watched_for_by_one(home: Home) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send("served")

    class Counting(Maintenance):
        looks = 0

        def look_again(self) -> None:
            Counting.looks += 1
            super().look_again()

    async def ask_all(crowd: int) -> None:
        middleware = MaintenanceMiddleware(app, hold_s=60)
        middleware.maintenance = Counting(api_prefixes=("/api",), static_prefixes=())
        scope = {"type": "http", "path": "/api/notes", "headers": []}
        answers: list[str] = []

        async def send(message: str) -> None:
            answers.append(message)

        waiting = [asyncio.create_task(middleware(scope, None, send)) for _ in range(crowd)]  # type: ignore[arg-type]
        while Counting.looks < crowd + 10:
            await asyncio.sleep(0.01)
        home.lock.unlink()
        await asyncio.gather(*waiting)
        assert answers == ["served"] * crowd

    home.write_lock("probation")
    began_s = time.monotonic()
    asyncio.run(ask_all(500))
    rounds = (time.monotonic() - began_s) / LOOK_EVERY_S + 1
    # Each looks when it comes and when it goes.
    assert Counting.looks <= 500 * 2 + rounds


def test_nobody_waits_while_a_release_goes_back(home: Home) -> None:
    home.write_lock("rolling_back")
    with served(create_app(hold_s=3600)) as port:
        assert ask(port, "/home")[0] == 503


def test_without_a_lock_it_is_not_there(home: Home) -> None:
    with served(create_app()) as port:
        home.write_lock("probation")  # an update that begins later ends this process first
        assert ask(port, "/home")[2] == b"app: home"


class Spy:
    """An app that notes what reaches it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Any, _receive: Any, _send: Any) -> None:
        self.reached.append(scope["type"])


def talk(scope: dict[str, Any], app: Spy) -> list[dict[str, Any]]:
    """What the middleware sends to the server."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": f"{scope['type']}.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    middleware = MaintenanceMiddleware(app, hold_s=0)
    asyncio.run(middleware({"headers": [], "path": "/", **scope}, receive, send))
    return sent


def test_a_websocket_is_turned_away_cleanly(home: Home) -> None:
    home.write_lock("probation")
    app = Spy()
    assert talk({"type": "websocket"}, app) == [{"type": "websocket.close", "code": 1013}]
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    start, body = talk({"type": "websocket", "path": "/api", "extensions": extensions}, app)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert (b"retry-after", b"5") in start["headers"]
    assert json.loads(body["body"])["code"] == "maintenance"
    assert app.reached == []


def test_the_lifespan_passes(home: Home) -> None:
    home.write_lock("probation")
    app = Spy()
    assert talk({"type": "lifespan"}, app) == []
    assert app.reached == ["lifespan"]


def test_prefixes_are_those_of_the_app_wherever_it_is_mounted(home: Home) -> None:
    home.write_lock("probation")
    for root, path in (("/shop", "/shop/api/x"), ("/shop", "/api/x"), ("", "/api/x")):
        start, _ = talk({"type": "http", "root_path": root, "path": path}, Spy())
        assert (b"content-type", b"application/json") in start["headers"]
    start, _ = talk({"type": "http", "root_path": "/api", "path": "/api/home"}, Spy())
    assert (b"content-type", b"text/html; charset=utf-8") in start["headers"]
