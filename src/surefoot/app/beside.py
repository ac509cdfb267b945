"""Serving in private, while a release is judged: nobody but Surefoot can reach it, until it is
given the public address.

A process with SUREFOOT_PRIVATE in its environment has no public address. It serves on the Unix
socket of that name, and waits at `<name>.take` for the listening sockets, which come as descriptors
(SCM_RIGHTS, unix(7)). It answers one byte when it accepts on them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TAKE = ".take"
ACCEPTING = b"+"
MAX_SOCKETS = 4
LOOK_EVERY_S = 0.01


def listen(name: str) -> socket.socket:
    """A Unix socket of that name, in the place of what an earlier process has left."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)  # noqa: PTH108 - no pathlib at the start
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(name)
    listening.listen()
    listening.setblocking(False)
    return listening


def prepared(descriptor: int, backlog: int) -> socket.socket:
    """A listening socket that was opened by somebody else, ready to be served on."""
    held = socket.socket(fileno=descriptor)
    held.set_inheritable(False)
    if held.family in {socket.AF_INET, socket.AF_INET6}:
        # Accepted connections inherit it; without it, small answers wait for an ACK.
        held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    held.listen(backlog)
    return held


async def handed_over(taking: socket.socket) -> AsyncIterator[tuple[socket.socket, list[int]]]:
    """Whoever hands descriptors over, with them; for as long as somebody listens."""
    import asyncio

    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(taking)
        with connection:
            descriptors = await _received(connection)
            if descriptors:
                yield connection, descriptors


async def _received(connection: socket.socket) -> list[int]:
    import asyncio

    connection.setblocking(False)
    while True:
        try:
            return list(socket.recv_fds(connection, 1, MAX_SOCKETS)[1])
        except BlockingIOError:
            await asyncio.sleep(LOOK_EVERY_S)
        except OSError:
            return []
