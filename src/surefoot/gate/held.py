"""The listening sockets that outlive the app, as the engine inherits them.

Protocol: LISTEN_FDS in the environment says how many there are, from descriptor 3 on
(sd_listen_fds(3)). LISTEN_PID is not asked for: the supervisor gives them to the engine itself.
"""

from __future__ import annotations

import contextlib
import os
import socket

FIRST_DESCRIPTOR = 3
MAX_SOCKETS = 4


def held_sockets() -> list[socket.socket]:
    """A socket object for each; empty where the app opens its address by itself."""
    value = os.environ.get("LISTEN_FDS", "0")
    count = min(int(value), MAX_SOCKETS) if value.isdecimal() else 0
    found = []
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count):
        with contextlib.suppress(OSError):
            held = socket.socket(fileno=os.dup(descriptor))
            os.set_inheritable(held.fileno(), False)
            found.append(held)
    return found
