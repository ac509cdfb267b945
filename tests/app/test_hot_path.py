"""What the middlewares cost once the gate is open: real servers, watched at their system calls."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from tests.app.test_asgi import ask
from tests.app.test_serve import held, port_of, started
from tests.needs import program

if TYPE_CHECKING:
    import socket

    from tests.app.conftest import Home

__all__ = ["held"]

SERVERS = {
    "ASGI": ["surefoot.app.serve", "sample_asgi:app", "--no-access-log"],
    "WSGI": ["gunicorn", "-c", "python:surefoot.app.gunicorn", "sample_wsgi:app"],
}


@pytest.mark.parametrize("kind", SERVERS)
def test_after_the_commit_no_request_looks_at_the_lock(
    home: Home, held: socket.socket, kind: str
) -> None:
    home.write_lock("rolling_back")
    trace, port = home.root / "trace", port_of(held)

    def looked_at() -> list[str]:
        """Every system call since the last time that names what belongs to updates."""
        lines = [line for line in trace.read_text().splitlines() if str(home.lock.parent) in line]
        trace.write_text("")
        return lines

    # -D: the server keeps its process id, by which it knows that the socket is for it.
    strace = [str(program("strace", "strace")), "-D", "-f", "-qq", "-A", "-e", "trace=%file"]
    command = [*strace, "-o", str(trace), sys.executable, "-m", *SERVERS[kind]]
    with started(home, command, held):
        assert ask(port, "/pid")[0] == 503
        looked_at()
        assert ask(port, "/pid")[0] == 503
        assert any("UPDATE_LOCK.json" in line for line in looked_at()), "nothing would be seen"
        home.lock.unlink()
        assert ask(port, "/pid")[0] == 200
        looked_at()
        for _ in range(50):
            assert ask(port, "/pid")[0] == 200
        assert looked_at() == []
