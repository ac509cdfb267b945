"""A dashboard that is really served, and a client that says exactly what it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import uvicorn

from surefoot.dashboard import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

    from surefoot.config import Dashboard
    from surefoot.home import Home

TOKEN = "a-token-that-is-long-enough-for-tests"
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.text)

    @property
    def cookie(self) -> str:
        """What a browser would send back."""
        return self.headers["set-cookie"].partition(";")[0]


@dataclass
class Client:
    """Knocks at a port of this machine."""

    port: int
    headers: dict[str, str] = field(default_factory=dict)
    """With every request."""
    base: str = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: str | bytes | None = None, **headers: str
    ) -> Answer:
        """Header names have `_` for `-`; an empty value leaves one out."""
        said = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, self.base + path, body, {k: v for k, v in said.items() if v})
            found = connection.getresponse()
            text = found.read().decode()
            told = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, told, text)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def submit(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        """As a browser sends a form."""
        known = {
            "Content_Type": "application/x-www-form-urlencoded",
            "Origin": self.origin,
        }
        return self.ask("POST", path, urlencode(fields), **known | headers)

    def with_token(self, token: str = TOKEN) -> Client:
        return Client(self.port, {**self.headers, "Authorization": f"Bearer {token}"}, self.base)

    def logged_in(self, name: str = "Ann") -> Client:
        answer = self.submit("/login", {"token": TOKEN, "name": name})
        assert answer.status == 303, answer
        return Client(self.port, {**self.headers, "Cookie": answer.cookie}, self.base)


@contextlib.contextmanager
def served(app: ASGIApp, held: socket.socket | None = None) -> Iterator[Client]:
    """Serves an ASGI app, on a port of its own unless it is told."""
    held = held or socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="critical", lifespan="off", ws="none", proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]})
    thread.start()
    try:
        end_s = time.monotonic() + PATIENCE_S
        while not server.started:
            assert time.monotonic() < end_s, "the server does not start"
            time.sleep(0.01)
        yield Client(held.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
        held.close()


@contextlib.contextmanager
def dashboard(home: Home, settings: Dashboard) -> Iterator[Client]:
    """The dashboard of a home."""
    with served(create_app(home, settings)) as client:
        yield client
