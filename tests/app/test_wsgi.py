from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

from tests.app.test_asgi import ask

from surefoot.app.wsgi import MaintenanceMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from tests.app.conftest import Home


def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"app"]


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""


@contextmanager
def served() -> Iterator[int]:
    """Runs the app, checked against the specification on both sides; yields its port."""
    wrapped = validator(MaintenanceMiddleware(validator(app)))
    with make_server("127.0.0.1", 0, wrapped, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_a_wsgi_app_is_closed_in_probation_and_opens_at_the_commit(home: Home) -> None:
    home.write_lock("probation", token="secret")
    with served() as port:
        status, headers, body = ask(port, "/api/x")
        assert (status, headers["Content-Type"]) == (503, "application/json")
        assert headers["Retry-After"] == "5"
        status, headers, body = ask(port, "/home", Accept_Language="zh")
        assert (status, headers["Content-Language"]) == (503, "zh-Hans")
        assert body.decode().startswith("<!DOCTYPE html>")
        assert ask(port, "/home", "HEAD")[::2] == (503, b"")
        assert ask(port, "/static/app.css")[2] == b"app"
        assert ask(port, "/home", X_Surefoot_Probe="secret")[2] == b"app"
        home.lock.unlink()
        assert ask(port, "/home")[2] == b"app"


def test_without_a_lock_it_is_not_there(home: Home) -> None:
    with served() as port:
        assert ask(port, "/api/x")[2] == b"app"
    assert not home.lock.exists()
