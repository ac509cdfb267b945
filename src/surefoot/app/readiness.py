"""Says READY=1 over NOTIFY_SOCKET, as sd_notify(3) does."""

from __future__ import annotations

import os


def report_ready(status: str = "") -> bool:
    """Tells Surefoot that the app serves, with an optional line for people.

    Returns False where nobody listens: that is never an error.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    import socket

    message = "READY=1" + (f"\nSTATUS={' '.join(status.splitlines())}" if status else "")
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.setblocking(False)
            notifier.sendto(message.encode(), address)
    except OSError:
        return False
    return True
