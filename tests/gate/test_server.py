import contextlib
import http.client
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot.app.maintenance import Answer
from surefoot.gate import Gate, Request


def answer(request: Request) -> Answer:
    return Answer((("Retry-After", "5"),), json.dumps({"path": request.path}).encode())


@pytest.fixture
def held() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(4096)
        listening.setblocking(False)
        yield listening


@pytest.fixture
def gate(held: socket.socket) -> Iterator[Gate]:
    gate = Gate([held], answer, hold_s=0)
    gate.close()
    yield gate
    gate.open()


def get(held: socket.socket, method: str = "GET", path: str = "/") -> tuple[int, bytes, str]:
    host, port = held.getsockname()
    connection = http.client.HTTPConnection(host, port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read(), response.headers["Retry-After"]


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("method", ["GET", "POST", "BREW", "OPTIONS"])
def test_whoever_comes_is_told_to_come_back(held: socket.socket, method: str) -> None:
    assert get(held, method, "/api/x?y=1") == (503, b'{"path": "/api/x"}', "5")


@pytest.mark.usefixtures("gate")
def test_an_answer_to_head_has_no_body(held: socket.socket) -> None:
    assert get(held, "HEAD") == (503, b"", "5")


@pytest.mark.usefixtures("gate")
def test_a_large_upload_gets_its_answer_and_no_reset(held: socket.socket) -> None:
    with socket.create_connection(held.getsockname(), timeout=20) as client:
        client.sendall(b"POST /up HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n")
        with contextlib.suppress(BrokenPipeError):
            client.sendall(b"x" * 500_000)
        client.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 503 ")


@pytest.mark.usefixtures("gate")
def test_a_websocket_gets_a_clean_answer_too(held: socket.socket) -> None:
    with socket.create_connection(held.getsockname(), timeout=20) as client:
        client.sendall(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 503 ")


@pytest.mark.usefixtures("gate")
@pytest.mark.parametrize("noise", [b"\0" * 20_000, b"\x16\x03\x01" + b"\r\n\r\n", b"\r\n\r\n"])
def test_rubbish_is_answered_and_closed(held: socket.socket, noise: bytes) -> None:
    with socket.create_connection(held.getsockname(), timeout=20) as client:
        client.sendall(noise)
        client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 503 ")
    assert get(held)[0] == 503


def test_within_the_hold_nobody_is_answered_and_nobody_refused(held: socket.socket) -> None:
    gate = Gate([held], answer, hold_s=60)
    gate.close()
    with socket.create_connection(held.getsockname(), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        gate.open()
        # The app is back: it finds the connection waiting in the queue.
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                accepted, _ = held.accept()
                break
        with accepted:
            accepted.setblocking(True)
            assert accepted.recv(100) == b"GET / HTTP/1.1\r\n\r\n"
            accepted.sendall(b"from the app")
        assert client.makefile("rb").read() == b"from the app"


def test_once_open_it_takes_no_connection(held: socket.socket) -> None:
    gate = Gate([held], answer, hold_s=0)
    gate.close()
    assert get(held)[0] == 503
    gate.open()
    with socket.create_connection(held.getsockname(), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_it_can_be_closed_and_opened_again(held: socket.socket) -> None:
    gate = Gate([held], answer, hold_s=0)
    for _ in range(3):
        gate.close()
        gate.close()
        assert get(held)[0] == 503
        gate.open()
        gate.open()
    assert threading.active_count() < 5


def test_what_a_server_has_done_to_the_socket_is_mended(held: socket.socket, gate: Gate) -> None:
    """As it is after the app has ended: deaf, blocking, and with a short queue."""
    held.shutdown(socket.SHUT_RDWR)
    held.setblocking(True)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(held.getsockname(), timeout=20)
    gate.close()
    assert not os.get_blocking(held.fileno())
    assert get(held)[0] == 503


def test_the_queue_is_as_long_as_it_was_before_the_app(held: socket.socket) -> None:
    gate = Gate([held], answer, hold_s=60)
    gate.close()
    held.listen(1)  # as the app did
    gate.close()
    with contextlib.ExitStack() as clients:
        for _ in range(200):
            client = clients.enter_context(socket.socket())
            client.settimeout(20)
            client.connect(held.getsockname())
    gate.open()


def test_an_app_that_holds_no_socket_has_no_gate() -> None:
    gate = Gate([], answer, hold_s=0)
    gate.close()
    gate.open()


def test_thousands_of_silent_clients_cost_little(held: socket.socket) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(5000, (hard - 200) // 2 if hard > 0 else 5000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 200), hard))
    gate = Gate([held], answer, hold_s=0)
    gate.close()
    before = rss_bytes()
    clients = []
    try:
        for _ in range(count):
            client = socket.create_connection(held.getsockname(), timeout=20)
            client.sendall(b"GET / HTTP/1.1\r\n")  # and no end of the head
            clients.append(client)
        assert get(held)[0] == 503
        # Both ends of every connection live in this process.
        assert (rss_bytes() - before) / count < 6400
    finally:
        for client in clients:
            client.close()
        gate.open()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
