from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.health.servers import free_address, http_server, tcp_server

from surefoot.health.http import TOKEN_HEADER, HttpProbe

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler


def answering(
    status: int, body: bytes = b"ok", **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_the_configured_status_is_healthy() -> None:
    with http_server(answering(200)) as address:
        outcome = HttpProbe(f"http://{address}/health").probe()
    assert outcome.healthy
    assert outcome.detail == "answered 200"


def test_a_redirect_is_not_health_and_is_named() -> None:
    with http_server(answering(302, Location="/setup")) as address:
        outcome = HttpProbe(f"http://{address}/health").probe()
    assert not outcome.healthy
    assert outcome.answered
    assert outcome.detail == "answered 302 -> /setup, expected 200"


def test_only_the_listed_statuses_count() -> None:
    with http_server(answering(204)) as address:
        assert HttpProbe(f"http://{address}/", status=[200, 204]).probe().healthy
        outcome = HttpProbe(f"http://{address}/", status=[200, 401]).probe()
    assert outcome.detail == "answered 204, expected 200 or 401"


def test_a_503_is_a_not_yet() -> None:
    with http_server(answering(503)) as address:
        outcome = HttpProbe(f"http://{address}/").probe()
    assert not outcome.healthy
    assert not outcome.answered


def test_the_question_carries_token_path_and_query() -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append((handler.path, handler.headers[TOKEN_HEADER], handler.headers["Connection"]))
        answering(200)(handler)

    with http_server(answer) as address:
        HttpProbe(f"http://{address}/health?deep=1", token="secret").probe()
    assert asked == [("/health?deep=1", "secret", "close")]


def test_nobody_there_is_silence() -> None:
    outcome = HttpProbe(f"http://{free_address()}/").probe()
    assert not outcome.healthy
    assert not outcome.answered
    assert "connection refused" in outcome.detail


def test_a_server_that_accepts_and_never_answers_is_given_up() -> None:
    over = threading.Event()

    def say_nothing(_: socket.socket) -> None:
        over.wait()

    with tcp_server(say_nothing) as address:
        outcome = HttpProbe(f"http://{address}/", timeout_s=0.2).probe()
        over.set()
    assert not outcome.healthy
    assert not outcome.answered
    assert outcome.detail == "no answer within 0.2 s"


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_server_that_trickles_is_given_up(start: bytes) -> None:
    over = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(b"X")
            time.sleep(0.02)

    with tcp_server(trickle) as address:
        outcome = HttpProbe(f"http://{address}/", timeout_s=0.3).probe()
        over.set()
    assert not outcome.healthy
    assert outcome.detail == "no answer within 0.3 s"


def test_a_server_that_dies_within_its_answer_is_not_healthy() -> None:
    def die(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    with tcp_server(die) as address:
        outcome = HttpProbe(f"http://{address}/").probe()
    assert not outcome.healthy
    assert outcome.detail == "its answer broke off"


def test_what_is_not_http_is_not_healthy() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"SSH-2.0-OpenSSH\r\n")

    with tcp_server(talk) as address:
        outcome = HttpProbe(f"http://{address}/").probe()
    assert not outcome.healthy
