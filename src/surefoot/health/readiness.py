"""READY=1 over NOTIFY_SOCKET: the app says itself when it serves.

The protocol is that of sd_notify(3): datagrams of `KEY=value` lines to a Unix socket.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from surefoot.errors import ConfigurationError
from surefoot.health.outcome import Outcome

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_PATH = 107
"""Bytes that fit into the address of a Unix socket (unix(7))."""
DATAGRAM_SIZE = 64 * 1024


class Readiness:
    """Listens at `path` from now on: make it before the app is started, or READY=1 is missed."""

    name = "notify"

    def __init__(self, path: Path) -> None:
        if len(str(path).encode()) > LONGEST_PATH:
            raise ConfigurationError(
                f"The path {path} is too long for a socket.",
                next_step="Put the home in a folder with a shorter path, or use another probe "
                "than `health.notify`.",
            )
        self._path = path
        self._is_ready = False
        self._status = ""
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(str(path))
        except BaseException:
            self._socket.close()
            raise

    def probe(self) -> Outcome:
        while (message := self._receive()) is not None:
            for line in message.decode(errors="replace").splitlines():
                key, _, value = line.partition("=")
                if key == "READY" and value == "1":
                    self._is_ready = True
                elif key == "STATUS":
                    self._status = value
        said = f" (it says: {self._status})" if self._status else ""
        if self._is_ready:
            return Outcome(True, f"READY=1 came{said}")
        return Outcome(False, f"READY=1 has not come{said}")

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _receive(self) -> bytes | None:
        try:
            return self._socket.recv(DATAGRAM_SIZE)
        except BlockingIOError:
            return None
