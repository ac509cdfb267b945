from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.app.load import under_load
from tests.app.test_asgi import ask
from tests.app.test_serve import WAIT_S, held, port_of, running

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.app.conftest import Home

__all__ = ["held"]

ASYNCHRONOUS = ("-k", "uvicorn.workers.UvicornWorker")
THREADS = ("-k", "gthread", "--threads", "4")


def gunicorn(
    home: Home, held: socket.socket, *options: str, app: str = "sample_wsgi:app", **variables: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    command = ("-c", "python:surefoot.app.gunicorn", "--no-control-socket", *options, app)
    return running(home, *command, held=held, module="gunicorn", **variables)


def test_no_request_is_lost_by_threads(home: Home, held: socket.socket) -> None:
    load = under_load(port_of(held), lambda: gunicorn(home, held, "-w", "2", *THREADS))
    assert (load.failures, set(load.answers)) == ([], {200})


def test_a_connection_that_was_accepted_is_answered_after_the_end_has_begun(
    home: Home, held: socket.socket
) -> None:
    with gunicorn(home, held) as process:
        ask(port_of(held), "/pid")
        with socket.create_connection(("127.0.0.1", port_of(held)), WAIT_S) as connection:
            connection.sendall(b"GET /pid HTTP/1.1\r\n")
            wait_until_accepted(connection)
            process.terminate()
            connection.sendall(b"Host: x\r\n\r\n")
            assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        assert process.wait(WAIT_S) == 0


def wait_until_accepted(connection: socket.socket) -> None:
    """Until the kernel has handed it to a process, so that it waits in no queue any more."""
    remote = f":{connection.getsockname()[1]:04X}"

    def is_accepted() -> bool:
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return any(line[2].endswith(remote) and line[9] != "0" for line in lines)

    wait_until(is_accepted)


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_it_says_ready_when_a_worker_has_loaded_the_app(home: Home, held: socket.socket) -> None:
    with (
        listening(home) as notified,
        gunicorn(home, held, "-w", "2", NOTIFY_SOCKET=str(home.root / "notify")),
    ):
        assert notified.recv(1000).startswith(b"READY=1\nSTATUS=A worker")


def test_an_app_that_does_not_start_is_never_ready(home: Home, held: socket.socket) -> None:
    """gunicorn starts one worker after another, its port open all the while."""
    bad = {"NOTIFY_SOCKET": str(home.root / "notify"), "SAMPLE_IS_BAD": "1"}
    with listening(home) as notified, gunicorn(home, held, **bad):
        wait_until(lambda: (home.root / "log").read_text().count("Booting worker") > 2)
        notified.setblocking(False)
        with pytest.raises(BlockingIOError):
            notified.recv(1000)


def listening(home: Home) -> socket.socket:
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(home.root / "notify"))
    notified.settimeout(WAIT_S)
    return notified


@pytest.mark.parametrize(
    ("options", "app"),
    [((), "sample_wsgi:app"), (ASYNCHRONOUS, "sample:app")],
    ids=["WSGI", "ASGI"],
)
def test_the_maintenance_answer_is_in_front(
    home: Home, held: socket.socket, options: tuple[str, ...], app: str
) -> None:
    home.write_lock("rolling_back", token="secret", reason="It was ill.")
    with gunicorn(home, held, *options, app=app):
        assert ask(port_of(held), "/pid")[0] == 503
        assert ask(port_of(held), "/pid", X_Surefoot_Probe="secret")[0] == 200
        home.lock.unlink()
        assert ask(port_of(held), "/pid")[0] == 200
    assert "rolled back, aaa runs again: It was ill." in (home.root / "log").read_text()


WITH_A_CONFIGURATION_OF_ITS_OWN = """
import pathlib, time
from surefoot.app.gunicorn import *
from surefoot.app.gunicorn import post_fork as ours

def post_fork(server, worker):
    ours(server, worker)
    pathlib.Path("begun").touch()
    time.sleep(1)
    pathlib.Path("went_on").touch()
"""


def test_a_worker_that_has_only_begun_ends_at_once(home: Home, held: socket.socket) -> None:
    (home.root / "own.py").write_text(WITH_A_CONFIGURATION_OF_ITS_OWN)
    with gunicorn(home, held, "-c", "own.py", SUREFOOT_STOP_GRACE="3") as process:
        wait_until((home.root / "begun").exists)
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert not (home.root / "went_on").exists()


def test_the_time_to_finish_fits_into_the_grace(home: Home, held: socket.socket) -> None:
    with gunicorn(home, held, SUREFOOT_STOP_GRACE="1") as process:
        ask(port_of(held), "/pid")
        with socket.create_connection(("127.0.0.1", port_of(held)), WAIT_S) as connection:
            connection.sendall(b"GET /slow?seconds=3600 HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until_accepted(connection)
            process.terminate()
            assert process.wait(WAIT_S) == 0
