"""Real supervisors, engines and apps, with a client that writes and reads all the while."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.examples.conftest import history
from tests.system.notes import Notes

from surefoot.demo.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from surefoot.demo.sample import History

__all__ = ["history"]

PATIENCE_S = 60
GONE_WITHIN_S = 5


@pytest.fixture
def server(history: History, tmp_path: Path) -> Iterator[Notes]:
    """A home in which nothing runs yet."""
    server = Notes(tmp_path, history)
    with stopped_at_last(server):
        yield server


@pytest.fixture
def unrehearsed_server(history: History, tmp_path: Path) -> Iterator[Notes]:
    """The same, where all that is wrong with a release is found out in the cutover."""
    server = Notes(tmp_path, history, rehearsed=False)
    with stopped_at_last(server):
        yield server


@contextlib.contextmanager
def stopped_at_last(server: Notes) -> Iterator[None]:
    try:
        yield
    finally:
        server.stop()
        sys.stdout.write(server.log_tail(400))  # shown where the test has failed
        # The supervisor's own helpers end with it, or an instant later.
        wait_until(
            lambda: not processes_of(server) + rehearsed_of(server),
            "nothing is left behind",
            GONE_WITHIN_S,
        )


@contextlib.contextmanager
def serving(
    history: History, folder: Path, first: str, *, rehearsed: bool = True
) -> Iterator[Notes]:
    """A home in which this release is the first one, and serves."""
    server = Notes(folder, history, first=first, rehearsed=rehearsed)
    with stopped_at_last(server):
        server.start()
        server.wait_for(first.removeprefix("v"), PATIENCE_S)
        server.shorten_deadline()
        yield server


@pytest.fixture(scope="module")
def notes(history: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    """Release v1.2, serving; for tests that end with v1.2 serving."""
    with serving(history, tmp_path_factory.mktemp("notes"), "v1.2") as server:
        yield server


@pytest.fixture(scope="module")
def unrehearsed(history: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    """The same, where all that is wrong with a release is found out in the cutover."""
    with serving(history, tmp_path_factory.mktemp("notes"), "v1.2", rehearsed=False) as server:
        yield server


@pytest.fixture
def client(notes: Notes) -> Iterator[Client]:
    with Client(notes.url) as client:
        yield client


def processes_of(server: Notes) -> list[int]:
    """Every process that belongs to this home, whoever started it."""
    mark = f"SUREFOOT_HOME={server.home}".encode()
    return _processes(lambda variable: variable == mark)


def rehearsed_of(server: Notes) -> list[int]:
    """What runs on copies of this home's databases; it does not know the home."""
    mark = f"SUREFOOT_MIGRATION={server.home}/".encode()
    return _processes(lambda variable: variable.startswith(mark))


def _processes(bears: Callable[[bytes], bool]) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(map(bears, (folder / "environ").read_bytes().split(b"\0"))):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def kill_everything(server: Notes) -> None:
    """SIGKILL for the supervisor, the engine, the app and all that they have started."""
    while pids := processes_of(server):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.reap()


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = PATIENCE_S) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {deadline_s} s"
        time.sleep(0.01)
