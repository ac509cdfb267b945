import contextlib
import http.client
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from surefoot.app.maintenance import Answer
from surefoot.gate import Gate, Request, server
from surefoot.gate.messages import encoded


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


def test_it_is_open_at_once_although_a_client_is_slow(held: socket.socket) -> None:
    gate = Gate([held], answer, hold_s=0)
    gate.close()
    with socket.create_connection(held.getsockname(), timeout=20) as slow:
        slow.sendall(b"GET / HTTP")
        assert get(held)[0] == 503
        before = time.process_time()
        assert gate.open() == 2
        held.settimeout(0)
        with pytest.raises(BlockingIOError):
            held.accept()
        slow.sendall(b"/1.1\r\n\r\n")
        assert slow.makefile("rb").read().startswith(b"HTTP/1.1 503 ")
        assert time.process_time() - before < 0.5  # it waits, and does not go round


def test_the_app_goes_first_on_a_socket_that_it_shares_with_the_gate(
    held: socket.socket, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "GLANCE_S", 2)
    gate.step_aside()
    for _ in range(2):  # the second one comes right after the queue was looked at
        assert get(held)[0] == 503, "no app takes it"
    for _ in range(10):
        with socket.create_connection(held.getsockname(), timeout=20):
            held.accept()[0].close()  # as the app does; it would be too late
    monkeypatch.setattr(server, "GLANCE_S", 1000)
    gate.close()
    assert get(held)[0] == 503


def test_the_same_answer_is_there_once_however_many_wait_for_it() -> None:
    first, second = (answer(Request("GET", "/", {})) for _ in range(2))
    assert first.body is not second.body
    assert encoded(first, head_only=False) is encoded(second, head_only=False)


def test_who_finds_no_room_waits_until_there_is_some(
    held: socket.socket, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_CLIENTS", 3)
    silent = [socket.create_connection(held.getsockname(), timeout=20) for _ in range(3)]
    with socket.create_connection(held.getsockname(), timeout=20) as last:
        last.sendall(b"GET / HTTP/1.1\r\n\r\n")
        last.settimeout(0.5)
        with pytest.raises(TimeoutError):
            last.recv(1)
        silent.pop().close()
        last.settimeout(20)
        assert last.makefile("rb").read().startswith(b"HTTP/1.1 503 ")
    for client in silent:
        client.close()
    assert gate.open() == 4


LIMIT_BYTES = 64 * 1024 * 1024
CLIENTS = 10_000
_GATE = """\
import os, resource, socket, sys
from surefoot.app.maintenance import Answer
from surefoot.gate import Gate

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # as it is nearly everywhere
held = socket.socket(fileno=int(sys.argv[1]))
gate = Gate([held], lambda request: Answer((), b"in a moment"), hold_s=0)
gate.close()
print("closed", flush=True)
sys.stdin.readline()
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0], flush=True)
print(gate.open(), flush=True)
"""


@pytest.mark.parametrize("sent_bytes", [20, pytest.param(8000, marks=pytest.mark.slow)])
def test_ten_thousand_waiting_clients_fit_into_64_mb(held: socket.socket, sent_bytes: int) -> None:
    """Whether they send next to nothing or the most that they can; none comes to the end."""
    part = b"GET / HTTP/1.1\r\n".ljust(sent_bytes, b"x")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < CLIENTS + 200:
        pytest.skip(f"a process may have no more than {hard} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CLIENTS + 200), hard))
    process = subprocess.Popen(
        [sys.executable, "-c", _GATE, str(held.fileno())],
        pass_fds=[held.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    clients = []
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "closed\n"
        for _ in range(CLIENTS):
            client = socket.create_connection(held.getsockname(), timeout=20)
            client.sendall(part)
            clients.append(client)
        clients[0].sendall(b"\r\n\r\n")
        assert clients[0].makefile("rb").read().startswith(b"HTTP/1.1 503 ")
        assert get(held)[0] == 503  # so it has taken all that came before
        told, _ = process.communicate("\n", timeout=60)
    finally:
        for client in clients:
            client.close()
        process.kill()
        process.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    size_kb, taken = map(int, told.split())
    assert taken == CLIENTS + 1
    assert size_kb * 1024 < LIMIT_BYTES
