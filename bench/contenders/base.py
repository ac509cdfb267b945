"""What all contenders have in common: one folder, one port, one source, processes to be found."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar

from tests.tiny import free_port

if TYPE_CHECKING:
    from bench.source import Source

MARK = "BENCH_CONTENDER"
"""In the environment of all that a contender has started: its folder."""
PATIENCE_S = 90.0
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class FailedError(Exception):
    """A contender did not do what it had to do for a measurement."""


class Contender:
    """One way to run the sample app and to bring it to its next release.

    `install` makes it ready for the first release, in an empty folder; `start` is what a boot does.
    """

    name: ClassVar[str]
    what: ClassVar[str]
    cannot: ClassVar[tuple[str, ...]]
    """What it cannot do, in short sentences."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder = folder
        self.source = source
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def is_available(cls) -> bool:
        return True

    # -- to be done by each

    def install(self) -> None:
        """Leaves the source's newest release ready to be started."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What is run at a boot, and stays."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What is done beforehand and not measured; for the limit alone."""

    def update(self) -> bool:
        """Brings in the newest release; whether it says that this went well."""
        raise NotImplementedError

    def go_back(self) -> None:
        """What a person types after an update to a bad release."""
        raise NotImplementedError

    def settle(self) -> None:
        """Returns when nothing of an update goes on any more."""
        time.sleep(0.2)

    @property
    def data(self) -> Path:
        return self.folder / "app" / "data"

    # -- alike for all

    @property
    def database(self) -> Path:
        return self.data / "notes.db"

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return self.source.environment | {
            MARK: str(self.folder),
            "PATH": path,
            "PORT": str(self.port),
            "RESTART": f"kill -HUP $(cat {self.folder}/service.pid)",
        }

    def start(self) -> None:
        with self.log() as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ends it as a service manager does, and whatever is left after that."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for all that it has started, as when the power goes."""
        while found := self.processes():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.wait(20)
                self._process = None

    def processes(self) -> list[int]:
        mark = f"{MARK}={self.folder}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def run(self, *command: str, cwd: Path | None = None) -> bool:
        """Runs it to its end; whether that was 0. What it prints is in the log."""
        with self.log() as log:
            return (
                subprocess.run(
                    command, cwd=cwd or self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False,
                ).returncode
                == 0
            )  # fmt: skip

    def must(self, *command: str, cwd: Path | None = None) -> None:
        if not self.run(*command, cwd=cwd):
            raise FailedError(f"{self.name}: {' '.join(command)} failed.\n{self.log_tail()}")

    def checkout(self, folder: Path) -> None:
        """A clone of the remote with an environment of its own, its database at the newest schema.

        Made by uv, which is quicker; pip is there, for those who use it later.
        """
        self.must("git", "clone", "--quiet", str(self.source.history.remote), str(folder))
        self.must("uv", "venv", "--quiet", "--seed", ".venv", cwd=folder)
        self.must(
            *("uv", "pip", "install", "--quiet", "--compile-bytecode"),
            *("--python", ".venv/bin/python", "-r", "requirements.txt"),
            cwd=folder,
        )
        (folder / "data").mkdir()
        self.must(".venv/bin/alembic", "upgrade", "head", cwd=folder)

    def copy_scripts(self, name: str, folder: Path) -> None:
        for script in (HERE / name).iterdir():
            if script.is_file():
                shutil.copy(script, folder)

    def log(self) -> IO[bytes]:
        return self.folder.with_suffix(".log").open("ab")

    def log_tail(self) -> str:
        path = self.folder.with_suffix(".log")
        return "\n".join(path.read_text(errors="replace").splitlines()[-40:])

    # -- what is to be seen from outside

    def ask(self, path: str, text: str | None = None) -> tuple[int, str]:
        """The status and the body; (0, "") where there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            body = None if text is None else json.dumps({"text": text})
            method = "GET" if text is None else "POST"
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        return 0, ""

    def version(self) -> str | None:
        status, body = self.ask("/api/version")
        return str(json.loads(body)["version"]) if status == http.HTTPStatus.OK else None

    def is_healthy(self) -> bool:
        return self.ask("/health")[0] == http.HTTPStatus.OK

    def wait_for(self, version: str, deadline_s: float = PATIENCE_S) -> None:
        end_s = time.monotonic() + deadline_s
        while not (self.version() == version and self.is_healthy()):
            if time.monotonic() > end_s:
                raise FailedError(
                    f"{self.name}: {version} does not serve within {deadline_s:.0f} s; "
                    f"{self.ask('/api/version')} and {self.ask('/health')} are the answers.\n"
                    f"{self.log_tail()}"
                )
            time.sleep(0.02)

    def wait_for_sickness(self) -> None:
        """Returns when its health check says 500."""
        end_s = time.monotonic() + PATIENCE_S
        while self.ask("/health")[0] != http.HTTPStatus.INTERNAL_SERVER_ERROR:
            if time.monotonic() > end_s:
                raise FailedError(f"{self.name} never served the release.\n{self.log_tail()}")
            time.sleep(0.01)

    def notes(self) -> set[str]:
        """Every note that is in the database now."""
        uri = f"{self.database.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            return {text for (text,) in connection.execute("SELECT text FROM notes")}
