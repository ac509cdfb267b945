from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.app.load import under_load
from tests.app.test_asgi import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.app.conftest import Home

STAGED = {"outcome": "staged", "update": "1", "from": "aaa", "to": "bbb", "reason": ""}
WAIT_S = 60

# As a process script of the supervisor: the held socket on 3, the ids of this very process.
SCRIPT = """
import os, sys
held, *command = sys.argv[1:]
os.environ["SUREFOOT_PID"] = str(os.getpid())
if held != "-":
    os.dup2(int(held), 3)
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(command[0], command)
"""


def running(
    home: Home,
    *options: str,
    held: socket.socket | None = None,
    module: str = "surefoot.app.serve",
    **variables: str,
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """The sample app, served by a module of Python's."""
    return started(home, [sys.executable, "-m", module, *options], held, **variables)


@contextlib.contextmanager
def started(
    home: Home, command: list[str], held: socket.socket | None, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """The sample app as a process; killed at the end, with its workers, if it has not ended."""
    for name in ("sample.py", "sample_asgi.py", "sample_wsgi.py"):
        shutil.copy(Path(__file__).with_name(name), home.root / name)
    number = str(held.fileno()) if held else "-"
    with (home.root / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, number, *command],
            cwd=home.root,
            env=home.environment(**variables),
            pass_fds=[held.fileno()] if held else [],
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers do not all see that they are alone
        process.wait()


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """A listening socket that outlives the app."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def wait_until_serving(port: int, process: subprocess.Popen[str], home: Home) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, (home.root / "log").read_text()
        with contextlib.suppress(OSError):
            ask(port, "/pid")
            return
        time.sleep(0.02)
    raise AssertionError((home.root / "log").read_text())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return port_of(listener)


def test_the_held_socket_is_served_and_nothing_else_is_bound(
    home: Home, held: socket.socket
) -> None:
    with running(home, "sample:app", "--port", "1", held=held) as process:
        assert ask(port_of(held), "/pid")[2] == str(process.pid).encode()
    assert "held socket" in (home.root / "log").read_text()


def test_sockets_meant_for_another_process_are_not_touched(
    home: Home, held: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from surefoot.app.serve import held_sockets

    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert held_sockets(5) == []
    assert port_of(held)
    assert home.root.exists()


def test_without_held_sockets_uvicorns_options_say_where(home: Home) -> None:
    port = free_port()
    options = ["--factory", "sample:create", "--port", str(port), "--header", "X-Place:here"]
    with running(home, *options) as process:
        wait_until_serving(port, process, home)
        status, headers, body = ask(port, "/pid")
        assert (status, headers["X-Place"], body) == (200, "here", str(process.pid).encode())


def test_no_request_is_lost_from_one_process_to_the_next(home: Home, held: socket.socket) -> None:
    options = ("sample_asgi:app", "--no-access-log")
    load = under_load(port_of(held), lambda: running(home, *options, held=held))
    assert (load.failures, set(load.answers)) == ([], {200})


def test_a_request_in_progress_is_answered_before_the_end(home: Home, held: socket.socket) -> None:
    answers = []
    with running(home, "sample:app", held=held) as process:
        wait_until_serving(port_of(held), process, home)
        with socket.create_connection(("127.0.0.1", port_of(held)), 60) as connection:
            connection.sendall(b"GET /slow?seconds=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            ask(port_of(held), "/pid")
            process.terminate()
            answers.append(connection.makefile("rb").read())
        process.wait(WAIT_S)
    assert answers[0].endswith(b"slow")


@pytest.mark.parametrize("module", ["surefoot.app.serve", "uvicorn"])
def test_the_app_that_asked_for_an_update_answers_and_ends_with_10(home: Home, module: str) -> None:
    home.engine(STAGED)
    port = free_port()
    with running(home, "sample:app", "--port", str(port), module=module) as process:
        wait_until_serving(port, process, home)
        assert ask(port, "/update")[2] == b"staged"
        assert process.wait(WAIT_S) == 10
    assert "Application shutdown complete" in (home.root / "log").read_text()


def test_a_worker_that_asked_for_an_update_ends_the_whole_server(
    home: Home, held: socket.socket
) -> None:
    home.engine(STAGED)
    with running(home, "sample:app", "--workers", "2", held=held) as process:
        port = port_of(held)
        wait_until_serving(port, process, home)
        assert ask(port, "/pid")[2] != str(process.pid).encode()
        assert ask(port, "/update")[2] == b"staged"
        assert process.wait(WAIT_S) in {0, -signal.SIGTERM}


def test_the_maintenance_answer_is_in_front_unless_it_is_left_out(
    home: Home, held: socket.socket
) -> None:
    home.write_lock("probation", token="secret")
    with running(home, "sample:app", held=held):
        assert ask(port_of(held), "/pid")[0] == 503
        assert ask(port_of(held), "/pid", X_Surefoot_Probe="secret")[0] == 200
    with running(home, "sample:app", "--workers", "2", held=held) as process:
        assert ask(port_of(held), "/pid")[0] == 503
        process.terminate()
        process.wait(WAIT_S)
    with running(home, "--no-maintenance", "sample:app", held=held):
        assert ask(port_of(held), "/pid")[0] == 200


def test_an_app_that_cannot_be_imported_ends_with_an_error(home: Home, held: socket.socket) -> None:
    with running(home, "sample:missing", held=held) as process:
        assert process.wait(WAIT_S) in {1, 3}
    assert "missing" in (home.root / "log").read_text()


def test_a_missing_uvicorn_is_named(home: Home) -> None:
    program = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from surefoot.app.serve import main; main(['sample:app'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "add `uvicorn` to the app's dependencies" in ended.stderr
    assert home.root.exists()
