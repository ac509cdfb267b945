"""The sample app in a home of its own, with what tests want to know and do beyond the demo."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
from typing import TYPE_CHECKING

import msgspec

from surefoot.demo.server import Server
from surefoot.home import Home
from surefoot.update.history import History as Events

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.demo.sample import History


class Notes(Server):
    """`first` is the release that gets installed at the first start."""

    def __init__(
        self, folder: Path, history: History, *, first: str = "v1.0", rehearsed: bool = True
    ) -> None:
        super().__init__(folder, history, rehearsed=rehearsed)
        self._first = first
        self._environment["ADMIN_TOKEN"] = "secret"
        self.places = Home(self.home)
        self.lock = self.places.lock

    def set(self, variable: str, value: str) -> None:
        """Overrides a key of the configuration, from the next start on."""
        self._environment[variable] = value

    def start(self) -> None:
        if not self.home.exists():
            self.follow(self._first)
        super().start()

    def follow(self, tag: str) -> None:
        """What the source's branch points to from now on."""
        commit = self._history.commits[tag]
        self._history.git("push", "--quiet", "--force", str(self._history.remote),
                          f"{commit}:refs/heads/main")  # fmt: skip

    def command(self, verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(verb, *arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def begin(self, verb: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(verb, *arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def post(self, path: str, headers: dict[str, str]) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            connection.request("POST", path, headers=headers)
            return connection.getresponse().status

    def connected(self) -> socket.socket:
        """A connection on which nothing is asked yet."""
        return socket.create_connection(("127.0.0.1", self._port), timeout=60)

    def history_size(self) -> int:
        return Events(self.places).size()

    def events(self, offset: int = 0) -> list[str]:
        return [event.event for event in Events(self.places).read(offset)]

    def is_denied(self, tag: str) -> bool:
        try:
            ledger = msgspec.json.decode(self.places.ledger.read_bytes())
        except FileNotFoundError:
            return False
        return self._history.commits[tag][:12] in ledger["denied"]

    def reap(self) -> None:
        if self._process is not None:
            self._process.wait(60)
