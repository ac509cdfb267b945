"""The private place: where a release that is judged serves, and nobody but Surefoot reaches it.

A process of `surefoot.app.serve` can be started without its public address: it serves on a Unix
socket in `run`, and is handed the listening sockets as descriptors when it is found healthy. Until
then it could not answer the public if it wanted to: whoever comes waits in the kernel's queue, or
is answered by the gate, and nobody meets a release that is not good.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from surefoot.app import beside
from surefoot.config.checking import not_in_private
from surefoot.errors import SupervisorError
from surefoot.health.readiness import LONGEST_PATH

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.home import Home

NAME = "private"
"""In the home's `run`; supervisor.sh tells it so."""
TAKEN_WITHIN_S = 10.0


def why_not(config: Config, home: Home, release: Path) -> str:
    """Why this release cannot serve there; empty where it can."""
    for _, message, _ in not_in_private(config):
        return message
    if not any((release / "venv").glob("lib/python*/site-packages/surefoot/app/beside.py")):
        return "the Surefoot in the release's own environment cannot serve in private"
    if len(f"{place(home)}{beside.TAKE}") > LONGEST_PATH:
        return f"the path {place(home)} is too long for a socket"
    return ""


def place(home: Home) -> Path:
    return home.run / NAME


def is_taken(home: Home) -> bool:
    """Whether something serves there, and takes sockets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TAKEN_WITHIN_S)
        with contextlib.suppress(OSError):
            connection.connect(f"{place(home)}{beside.TAKE}")
            return True
    return False


def hand_over(home: Home, sockets: list[socket.socket]) -> None:
    """Returns when what serves there accepts on the sockets; it may have them already.

    Raises SupervisorError.
    """
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
