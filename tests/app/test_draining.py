from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.app.sample import app

from surefoot.app import draining

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

REQUEST = b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n"


def config() -> draining.Config:
    return draining.Config(app, maintenance=False, port=0, log_level="critical")


@contextmanager
def served() -> Iterator[tuple[draining.Server, int]]:
    server = draining.Server(config())
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def test_a_request_on_an_accepted_connection_is_answered_after_the_end_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draining, "DRAIN_S", 60)
    with served() as (server, port):
        connections = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(20)]
        while len(server.server_state.connections) < len(connections):
            time.sleep(0.01)
        listening = server.servers[0]
        server.should_exit = True
        while listening.is_serving():
            time.sleep(0.01)
        time.sleep(0.1)
        for connection in connections:
            with connection:
                connection.sendall(REQUEST)
                answer = connection.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert b"connection: close" in answer


def test_an_idle_connection_does_not_hold_the_end() -> None:
    with (
        served() as (server, port),
        socket.create_connection(("127.0.0.1", port), 60) as connection,
    ):
        while not server.server_state.connections:
            time.sleep(0.01)
        server.should_exit = True
        assert connection.recv(1) == b""


def test_workers_end_the_same_way() -> None:
    parent = draining.workers(draining.Server(config()), [])
    assert parent.config.loaded is False
    assert isinstance(draining.Worker(config(), []).server, draining.Server)
