from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.examples.running import PATIENCE_S, free_port

from surefoot.demo.client import Client, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.examples.running import Running


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.02)


@contextlib.contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """An address whose connections are given to `answer`, one after another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        done = threading.Event()

        def accept() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(PATIENCE_S)
                        answer(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


def kinds_at(url: str, timeout_s: float = PATIENCE_S) -> set[Kind]:
    with Client(url, workers=1, timeout_s=timeout_s) as client:
        wait_for(lambda: len(client.answers) >= 2)
    return {answer.kind for answer in client.answers}


@pytest.mark.parametrize("keep_alive", [False, True])
def test_not_a_note_that_is_kept_is_missed_and_every_one_that_is_not_is(
    notes: Running, keep_alive: bool
) -> None:
    with Client(notes.url, rate=100, keep_alive=keep_alive) as client:
        wait_for(lambda: len(client.acknowledged) >= 20)
    assert client.summary().failures == 0
    assert client.lost() == []
    gone, changed = client.acknowledged[3], client.acknowledged[7]
    with contextlib.closing(sqlite3.connect(notes.database)) as database:
        database.execute("DELETE FROM notes WHERE id = ?", [gone.id])
        database.execute("UPDATE notes SET text = '' WHERE id = ?", [changed.id])
        database.commit()
    assert client.lost() == [gone, changed]


def test_a_note_that_vanishes_is_noticed_by_whoever_reads_it(notes: Running) -> None:
    with Client(notes.url, rate=100) as client:
        wait_for(lambda: len(client.acknowledged) >= 5)
        with contextlib.closing(sqlite3.connect(notes.database)) as database:
            database.execute("DELETE FROM notes")
            database.commit()
        wait_for(lambda: client.summary().failed.get(Kind.WRONG, 0) > 0)


def test_a_refused_connection_is_told_as_such() -> None:
    assert kinds_at(f"http://127.0.0.1:{free_port()}") == {Kind.REFUSED}


def test_a_connection_that_is_closed_without_an_answer_is_a_reset() -> None:
    def reset(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with listener(reset) as url:
        assert kinds_at(url) == {Kind.RESET}


def test_no_answer_in_time_is_a_timeout() -> None:
    def say_nothing(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    with listener(say_nothing) as url:
        assert kinds_at(url, timeout_s=0.2) == {Kind.TIMEOUT}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", Kind.MAINTENANCE),
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", Kind.ERROR),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", Kind.ERROR),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nnull", Kind.WRONG),
    ],
)
def test_an_answer_that_is_no_success_is_told_by_its_kind(answer: bytes, kind: Kind) -> None:
    def say(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)

    with listener(say) as url:
        assert kinds_at(url) == {kind}


def test_a_pause_of_the_app_is_the_longest_gap_until_it_lies_before_the_mark(
    notes: Running,
) -> None:
    with Client(notes.url, rate=100) as client:
        wait_for(lambda: len(client.acknowledged) >= 5)
        notes.process.send_signal(signal.SIGSTOP)
        time.sleep(1)
        notes.process.send_signal(signal.SIGCONT)
        before = len(client.answers)
        wait_for(lambda: len(client.answers) >= before + 20)
        mark_s = client.mark()
        wait_for(lambda: client.summary(mark_s).requests >= 5)
    assert client.longest_gap() >= 0.9
    assert client.summary().slowest_s >= 0.9
    assert client.longest_gap(mark_s) < client.longest_gap()
