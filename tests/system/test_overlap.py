"""A release lives beside the old one for a moment: nobody waits, nobody notices a bad one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
from tests.system.conftest import (
    PATIENCE_S,
    kill_everything,
    processes_of,
    stopped_at_last,
    wait_until,
)
from tests.system.notes import Notes

from surefoot.demo import client
from surefoot.demo.client import Client
from surefoot.errors import ExitCode
from surefoot.update.history import History as Events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.demo.sample import History

VISITORS = 4
EVERY_S = 0.02
"""200 requests a second, by all of them."""


NOTE = b'{"text": "slowly"}'
HALF_A_NOTE = (
    b"POST /api/notes HTTP/1.1\r\nHost: notes\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(NOTE)
) + NOTE[:5]
OTHER_HALF = NOTE[5:]


@pytest.fixture
def beside(history: History, tmp_path: Path) -> Iterator[Notes]:
    """v1.2 serves. What is wrong with a release is found out beside it, and not before."""
    server = Notes(tmp_path, history, first="v1.2", rehearsed=False)
    server.set("SUREFOOT_APP_OVERLAP", "true")
    server.set("SUREFOOT_APP_STOP_GRACE", "10")
    with stopped_at_last(server):
        server.start()
        server.wait_for("1.2", PATIENCE_S)
        yield server


class Visitors:
    """Each asks over a new connection, again and again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self.answers: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._visit) for _ in range(VISITORS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _visit(self) -> None:
        while not self._is_over.wait(EVERY_S):
            try:
                status, found = client.get(self._url, "/api/version", timeout_s=30)
                self.answers[str(found["version"]) if status == 200 else str(status)] += 1
            except Exception as error:  # whatever it is, a visitor has met it
                self.answers[type(error).__name__] += 1


def apps_of(server: Notes) -> list[int]:
    """The processes that serve, or are about to."""
    return [pid for pid in processes_of(server) if b"surefoot.app.serve" in _command(pid)]


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_nobody_fails_while_one_release_takes_over_from_the_other(beside: Notes) -> None:
    with (
        Client(beside.url) as writer,
        Visitors(beside.url) as visitors,
        beside.connected() as slow,
    ):
        wait_until(lambda: visitors.answers["1.2"] > 50, "visitors come")
        slow.sendall(HALF_A_NOTE)  # the old release has work left
        update = beside.begin("update", "--to", "v1.3", "--wait")
        wait_until(lambda: "took_over" in beside.events(), "v1.3 takes over")
        slow.sendall(OTHER_HALF)
        assert slow.makefile("rb").readline() == b"HTTP/1.1 201 Created\r\n"
        said, _ = update.communicate(timeout=PATIENCE_S)
        assert "nobody waited" in said
        assert update.returncode == ExitCode.OK
        wait_until(lambda: visitors.answers["1.3"] > 50, "v1.3 serves")
        writer.stop()
        assert writer.lost() == []
        assert writer.summary().failures == 0
    assert set(visitors.answers) == {"1.2", "1.3"}, visitors.answers
    wait_until(lambda: len(apps_of(beside)) == 1, "the old one has ended")
    kill(*apps_of(beside))  # the new one is the app, and is kept running as such
    wait_until(lambda: beside.version() == "1.3", "v1.3 serves again")


def test_a_bad_release_never_disturbs_the_old_one(beside: Notes) -> None:
    before = apps_of(beside)
    with Visitors(beside.url) as visitors:
        for tag in ("bad-import", "bad-health"):
            assert beside.update(tag).outcome is ExitCode.ABANDONED
            assert beside.is_denied(tag)
    assert set(visitors.answers) == {"1.2"}, visitors.answers
    wait_until(lambda: apps_of(beside) == before, "only the old one runs")
    assert not beside.lock.exists()


@pytest.mark.slow
def test_where_there_is_something_to_migrate_the_ordinary_way_is_taken(
    history: History, tmp_path: Path
) -> None:
    server = Notes(tmp_path, history, first="v1.1", rehearsed=False)
    server.set("SUREFOOT_APP_OVERLAP", "true")
    with stopped_at_last(server):
        server.start()
        server.wait_for("1.1", PATIENCE_S)
        assert server.update("v1.2").outcome is ExitCode.OK
        told = [e.text for e in Events(server.places).read() if e.event == "overlap_skipped"]
        assert "it may migrate the database main" in told[-1]
        assert "stopped" in server.events()


@pytest.mark.parametrize(
    ("what", "event"),
    [
        pytest.param("engine", "overlapping", marks=pytest.mark.slow),
        pytest.param("supervisor", "overlapping", marks=pytest.mark.slow),
        ("everything", "proven"),
        pytest.param("engine", "took_over", marks=pytest.mark.slow),
    ],
)
def test_killed_on_the_way_it_goes_on_by_the_ordinary_one(
    beside: Notes, what: str, event: str
) -> None:
    with Client(beside.url, timeout_s=5) as writer:
        wait_until(lambda: len(writer.acknowledged) > 3, "some notes are there")
        offset = beside.history_size()
        update = beside.begin("update", "--to", "v1.3", "--wait")
        wait_until(lambda: event in beside.events(offset), f"the update is at {event}")
        if what == "engine":
            kill(*(pid for pid in processes_of(beside) if b"\0engine\0" in _command(pid)))
        else:
            if what == "supervisor":  # all that it has started goes on, with nobody to see to it
                kill(int((beside.home / "run" / "supervisor.lock").read_text()))
                beside.reap()
            else:
                kill_everything(beside)
            beside.start()
        update.kill()
        update.communicate()
        wait_until(lambda: not beside.lock.exists(), "the update has ended")
        wait_until(lambda: beside.version() == "1.3", "nothing was wrong with the release")
        written = len(writer.acknowledged)
        wait_until(lambda: len(writer.acknowledged) > written, "new notes are accepted")
        writer.stop()
        assert writer.lost() == []
    wait_until(lambda: len(apps_of(beside)) == 1, "one copy runs, and no more")
