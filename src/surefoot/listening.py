"""The listening sockets: opened once, and held open across every release."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from surefoot.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

BACKLOG = 4096
"""How many connections may wait while no app takes them; the kernel has a limit of its own."""
_ANSWER_TIMEOUT_S = 2.0


def listen(address: str, home: Path) -> socket.socket:
    """A socket that listens on `host:port`, `[v6]:port` or `unix:/path` (relative to `home`).

    It does not block, as servers that are handed a socket expect. Raises RefusedError where the
    address cannot be had.
    """
    held = None
    try:
        if address.startswith("unix:"):
            held = _unix(home / address.removeprefix("unix:"))
        else:
            held = _tcp(address)
        held.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        if held is not None:
            held.close()
        why = getattr(error, "strerror", None) or str(error)
        raise RefusedError(
            f"{address} cannot be listened on: {why}.",
            next_step="End what uses it (`ss -ltnp` shows it), or change [app] listen.",
        ) from None
    held.setblocking(False)
    return held


def _tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family, kind, protocol, _, place = socket.getaddrinfo(
        host.strip("[]") or "0.0.0.0",  # noqa: S104 - an empty host means every one
        int(port),
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )[0]
    held = socket.socket(family, kind, protocol)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it; not every server sets it on a socket that it has not made.
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        held.bind(place)
    except OSError:
        held.close()
        raise
    return held


def _unix(path: Path) -> socket.socket:
    if path.is_socket() and not _answers(path):
        path.unlink()  # left behind by a supervisor that was killed
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        held.bind(str(path))
    except OSError:
        held.close()
        raise
    return held


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_ANSWER_TIMEOUT_S)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # not known to be nobody's
    return True
