"""Runs releases of the sample app as they are, without Surefoot around them."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.demo import client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.demo.sample import History

PATIENCE_S = 30


@dataclass(frozen=True)
class Running:
    """A release that serves."""

    url: str
    process: subprocess.Popen[bytes]
    database: Path


@dataclass(frozen=True)
class Checkout:
    """A release's code in a folder of its own."""

    folder: Path
    environment: dict[str, str]

    @property
    def database(self) -> Path:
        return self.folder / "data" / "notes.db"

    def migrate(self, to: str = "head") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "alembic", "upgrade", to],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextlib.contextmanager
    def started(self, port: int) -> Iterator[subprocess.Popen[bytes]]:
        """The app's process; it need not come to serve, nor end when it is told to."""
        command = f"-m surefoot.app.serve main:app --host 127.0.0.1 --port {port}"
        process = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @contextlib.contextmanager
    def serving(self) -> Iterator[Running]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with self.started(port) as process:
            wait_until_it_answers(url, process)
            yield Running(url, process, self.database)


def check_out(history: History, tag: str, folder: Path) -> Checkout:
    """A fresh clone of the release, with an empty data folder."""
    history.git("clone", "--quiet", "--branch", tag, str(history.remote), str(folder))
    (folder / "data").mkdir(exist_ok=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SUREFOOT_", "LISTEN_", "DATABASE_URL"))
    }
    # The wheel stands for its being installed: it is one module, importable as it is.
    words = str(next(history.wheels.glob("notes_words-*.whl")))
    environment["PYTHONPATH"] = os.pathsep.join(
        [words, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    return Checkout(folder, environment)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        assert process.poll() is None, f"the app ended with {process.returncode}"
        with contextlib.suppress(OSError, http.client.HTTPException):
            client.get(url, "/api/version")
            return
        time.sleep(0.05)
    raise AssertionError("the app does not answer")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
