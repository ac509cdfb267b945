"""Overlap: a release is judged, and takes over, beside the one in use. Nobody waits.

The supervisor starts it without a public address, and it serves on a Unix socket in `run`. Once it
is proven, `current` becomes it, the listening sockets are handed to it, and the old one is told to
end: for a moment both accept, and whoever is with the old one is served to the end.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.app import beside
from surefoot.control import Exited
from surefoot.errors import SupervisorError
from surefoot.health.readiness import LONGEST_PATH

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.control import Event, Processes
    from surefoot.home import Home
    from surefoot.update.lock import Update

PRIVATE = "private"
"""In the home's `run`: where it serves; supervisor.sh tells it so."""
NAME = "beside"
"""What the supervisor calls it until it is the app."""
TAKEN_WITHIN_S = 10.0


def why_not(update: Update, home: Home, release: Path, pending: list[str]) -> str:
    """Why this update takes the ordinary way; empty where it need not."""
    if update.kind != "update" or update.from_ is None:
        return "it is no update of what runs"
    if update.origin == "app":
        return "the app has asked for it, and ends itself"
    if pending:
        return f"it may migrate the database {', '.join(pending)}"
    if not any((release / "venv").glob("lib/python*/site-packages/surefoot/app/beside.py")):
        return "the Surefoot in the release's own environment cannot serve beside another"
    if len(str(place(home)) + beside.TAKE) > LONGEST_PATH:
        return f"the path {place(home)} is too long for a socket"
    return ""


def place(home: Home) -> Path:
    return home.run / PRIVATE


def hand_over(home: Home, sockets: list[socket.socket]) -> None:
    """Returns when what runs beside accepts on the sockets. Raises SupervisorError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TAKEN_WITHIN_S)
            connection.connect(f"{place(home)}{beside.TAKE}")
            socket.send_fds(connection, [b"+"], [held.fileno() for held in sockets])
            answer = connection.recv(1)
    except OSError as error:
        answer, why = b"", f": {error.strerror or error}"
    else:
        why = ""
    if answer != beside.ACCEPTING:
        raise SupervisorError(f"The new release did not take the listening sockets{why}.")


@dataclass
class Beside:
    """What runs beside the app, for the judge."""

    processes: Processes

    def wait(self, timeout_s: float) -> list[Event]:
        """Its exit; what the app does meanwhile is the supervisor's business."""
        events = self.processes.wait(timeout_s)
        return [e for e in events if isinstance(e, Exited) and e.name == NAME]
