"""`surefoot serve` as a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cli.conftest import Commands
from tests.dashboard.serving import Client
from tests.examples.running import free_port

from surefoot.dashboard.access import token_file
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.home import Home
    from surefoot.releases.store import Release

LIMIT_KB = 60_000


@contextlib.contextmanager
def serving(home: Home, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "serve", "--home", str(home.root),
         "--listen", f"127.0.0.1:{port}", *arguments],
        env={k: v for k, v in os.environ.items() if not k.startswith("SUREFOOT_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        yield process, Client(port)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_it_says_where_it_is_and_where_the_token_lies_and_stays_small(
    home: Home, installed: Release
) -> None:
    with serving(home) as (process, stranger):
        assert process.stdout is not None
        said = process.stdout.readline()
        file = token_file(home.dashboard)
        assert str(file) in said
        client = stranger.with_token(file.read_text().strip())
        paths = ("/", "/updates", "/releases", "/backups", "/login", "/api/status",
                 "/api/available", "/api/health", "/api/openapi.json", "/metrics")  # fmt: skip
        watching = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
        with contextlib.closing(watching):
            watching.request("GET", "/live", headers=client.headers)
            assert watching.getresponse().readline().startswith(b"retry:")
            for path in paths * 5:
                assert client.get(path).status in {200, 303}
        assert installed.id in client.get("/").text
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident_kb = int(status.split("VmHWM:")[1].split()[0])
        assert resident_kb < LIMIT_KB
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in {0, -signal.SIGTERM}
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_an_address_in_use_is_told_with_its_key(home: Home) -> None:
    with serving(home) as (_, client):
        answer = Commands(home)("serve", "--listen", f"127.0.0.1:{client.port}")
    assert answer.code == ExitCode.REFUSED
    assert "[dashboard] listen" in answer.err


def test_an_address_that_is_none_is_refused(home: Home) -> None:
    for address in ("unix:/x", "here", "127.0.0.1:99999"):
        answer = Commands(home)("serve", "--listen", address)
        assert answer.code == ExitCode.USAGE
        assert "is not host:port" in answer.err
