"""A home of its own with `surefoot run` in it, as a deployer would have it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.demo import client
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.demo.sample import History

# Times are shorter than anybody would set them for an app of theirs: it is a demo.
_CONFIGURATION = """\
[app]
name = "notes"
command = "python -m surefoot.app.serve main:app --port {port} --no-access-log"
listen = ["127.0.0.1:{port}"]
stop_grace = 2
crash_delay = 0.5
stable_after = 30

[source]
git = "{remote}"
branch = "main"

[database]
url = "sqlite:///data/notes.db"
variable = "DATABASE_URL"

[health]
path = "/health"
deadline = {deadline}
timeout = 1
watch = 20
{more}"""
_REHEARSED = """
[update]
rehearse = 1
"""
_NOT_REHEARSED = """window = 1

[update]
rehearse = 0
rehearse_migrations = false
"""

_FIRST_DEADLINE_S = 60
_LEAST_DEADLINE_S = 4

# What the caller's own Surefoot, app or service manager has set is none of the demo's business.
_FOREIGN = ("SUREFOOT_", "UPDATE_", "AUTO_UPDATE_", "LISTEN_", "NOTIFY_SOCKET", "DATABASE_URL")


class DemoError(Exception):
    """The demo did not go as it must. The message is a sentence for whoever watches."""


@dataclass(frozen=True)
class Update:
    """What `surefoot update` said."""

    outcome: ExitCode
    reason: str
    took_s: float


class Server:
    """The sample app under `surefoot run`, on a free port of this machine.

    Without `rehearsed`, what is wrong with a release is only found out behind the gate.
    """

    def __init__(self, folder: Path, history: History, *, rehearsed: bool = True) -> None:
        self.home = folder / "home"
        self.log = folder / "surefoot.log"
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._history = history
        self._more = _REHEARSED if rehearsed else _NOT_REHEARSED
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)
        } | history.environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the supervisor; the first release gets installed by it."""
        if not self.home.exists():
            self.home.mkdir(parents=True)
            self._configure(_FIRST_DEADLINE_S)
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C at the demo is the demo's to pass on, once.
            self._process = subprocess.Popen(
                self._command("run"),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def shorten_deadline(self) -> None:
        """A release gets four times as long to start as the first one took: on a slow machine a
        good one is not called bad, and on a fast one nobody waits long for a bad one."""
        done = self._run("history", "--json", deadline_s=30)
        with _understood(done):
            first = next(e for e in json.loads(done.stdout) if e["event"] == "committed")
            start_s = float(first["facts"]["durations"]["start"])
        self._configure(max(_LEAST_DEADLINE_S, round(4 * start_s)))

    def _configure(self, deadline_s: int) -> None:
        text = _CONFIGURATION.format(
            port=self._port, remote=self._history.remote, deadline=deadline_s, more=self._more
        )
        (self.home / "surefoot.toml").write_text(text, encoding="utf-8")

    def stop(self, deadline_s: float = 20) -> None:
        """Ends the supervisor and, through it, all that it has started."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise DemoError(
                f"The supervisor did not end within {deadline_s:.0f} seconds of SIGTERM."
            ) from None

    def update(self, tag: str, deadline_s: float = 120) -> Update:
        """`surefoot update --to TAG --wait`."""
        began_s = time.monotonic()
        done = self._run("update", "--to", tag, "--wait", "--json", deadline_s=deadline_s)
        with _understood(done):
            reason = str(json.loads(done.stdout)["reason"])
            outcome = ExitCode(done.returncode)
        return Update(outcome, reason, time.monotonic() - began_s)

    def last_reason(self) -> str:
        """Why the last update came, or came to nothing, by `surefoot status`."""
        done = self._run("status", "--json", deadline_s=30)
        with _understood(done):
            return str(json.loads(done.stdout)["last"]["reason"])

    def version(self) -> str | None:
        """The version that answers; None where none does."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, found = client.get(self.url, "/api/version", timeout_s=2)
            if status == http.client.OK:
                return str(found["version"])
        return None

    def wait_for(self, version: str, deadline_s: float) -> None:
        """Returns when that version answers, and says it is healthy."""
        end_s = time.monotonic() + deadline_s
        while time.monotonic() < end_s:
            if self.version() == version and self._healthy():
                return
            if self._process is not None and self._process.poll() is not None:
                raise DemoError(f"The supervisor ended with {self._process.returncode}.")
            time.sleep(0.05)
        raise DemoError(
            f"After {deadline_s:.0f} seconds {self.version() or 'nothing'} answers, not {version}."
        )

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the supervisor, the engine and the app have printed."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return client.get(self.url, "/health", timeout_s=2)[0] == http.client.OK
        return False

    def _command(self, verb: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "surefoot", verb, "--home", str(self.home), *arguments]

    def _run(
        self, verb: str, *arguments: str, deadline_s: float
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                self._command(verb, *arguments),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=deadline_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoError(
                f"`surefoot {verb}` came to no end within {deadline_s:.0f} seconds."
            ) from None


@contextlib.contextmanager
def _understood(done: subprocess.CompletedProcess[str]) -> Iterator[None]:
    """Raises DemoError where a command has not said what is looked for in its output."""
    try:
        yield
    except (LookupError, StopIteration, TypeError, ValueError):
        raise DemoError(
            f"`surefoot {done.args[3]}` ended with {done.returncode} and said: "
            f"{done.stdout}{done.stderr}"
        ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
