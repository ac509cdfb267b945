"""The load generator tells the fate of every request."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from bench.seen import Fate, Seen, Visitors
from tests.tiny import free_port

from bench import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RATE = 50.0


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does with each connection whatever it is told to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            over.set()
            thread.join()


def saying(status: int) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status)

    return answer


def saying_ok_once(connection: socket.socket) -> None:
    """And hangs up while the connection is idle."""
    with connection, contextlib.suppress(OSError):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok")
        time.sleep(0.1)


def hanging_up(connection: socket.socket) -> None:
    with connection:
        connection.recv(65536)


def seen_of(port: int, seconds: float = 1.0) -> Seen:
    with Visitors(port, RATE) as visitors:
        time.sleep(seconds)
    return visitors.seen


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (saying(200), load.OK),
        (saying(503), load.TURNED_AWAY),
        (saying(500), load.ERROR),
        (hanging_up, load.RESET),
    ],
)
def test_every_request_has_the_fate_that_it_met(
    answer: Callable[[socket.socket], None], fate: str
) -> None:
    with serving(answer) as port:
        seen = seen_of(port)
    assert seen.fates
    assert {found.what for found in seen.fates} == {fate}
    assert {found.kept for found in seen.fates} == {True, False}
    assert seen.failed() == (0 if fate == load.OK else len(seen.fates))


def test_the_end_of_an_idle_connection_is_no_answer() -> None:
    with serving(saying_ok_once) as port:
        seen = seen_of(port)
    due = [found.due_s for found in seen.fates]
    assert due
    assert len(due) == len(set(due))


def test_where_nobody_listens_every_request_is_refused() -> None:
    seen = seen_of(free_port())
    assert {found.what for found in seen.fates} == {load.REFUSED}


def test_it_goes_on_asking_while_nobody_answers() -> None:
    released = threading.Event()

    def answer(connection: socket.socket) -> None:
        released.wait()
        saying(200)(connection)

    with serving(answer) as port, Visitors(port, RATE) as visitors:
        time.sleep(1.0)
        released.set()
    seen = visitors.seen
    assert {found.what for found in seen.fates} == {load.OK}
    due = sorted(found.due_s for found in seen.fates)
    # On schedule, whatever had become of those before.
    assert all(b - a == pytest.approx(1 / RATE) for a, b in itertools.pairwise(due))
    assert seen.longest_wait_s > max(due) - min(due) - seen.longest_gap_s


def test_an_acknowledged_note_is_remembered() -> None:
    with serving(saying(201)) as port:
        seen = seen_of(port)
    assert seen.acknowledged
    assert len(seen.acknowledged) < len(seen.fates)


def test_a_gap_is_the_longest_time_without_a_good_answer() -> None:
    fates = [
        Fate(0.0, 0.1, load.OK, kept=False),
        Fate(1.0, 1.1, load.ERROR, kept=False),
        Fate(1.0, 3.1, load.OK, kept=True),
        Fate(3.0, 3.2, load.OK, kept=True),
    ]
    seen = Seen(fates, [], 0.0)
    assert seen.longest_gap_s == pytest.approx(3.0)
    assert seen.longest_wait_s == pytest.approx(2.1)
    assert seen.slow == 1
    assert seen.failed(kept=False) == 1
    assert seen.failed(kept=True) == 0
