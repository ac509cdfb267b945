"""Reads the lock, the journal of the update in flight. The app never writes it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

SIZE_LIMIT = 1024 * 1024

CLOSED_STATES = frozenset(
    {
        "stopped",
        "snapshotted",
        "migrated",
        "switched",
        "probation",
        "accepted",
        "rolling_back",
        "broken",
    }
)
"""The public is kept out: what it wrote now might still be taken back. Once the commit can be seen,
the verdict before it is on the disk."""

JUDGED_STATES = frozenset({"switched", "probation", "accepted"})
"""The release runs, and nothing is known against it."""


class LockUnreadable(Exception):  # noqa: N818 - says what it is
    """There is a lock, and it cannot be read as one."""


@dataclass(frozen=True)
class Lock:
    """What the app needs to know of an update."""

    state: str
    from_release: str | None = None
    to_release: str | None = None
    ref: str | None = None
    reason: str = ""
    token: str = ""
    since: str = ""
    """When the gate closed, in ISO 8601; empty if it is not said."""

    @property
    def is_closed(self) -> bool:
        return self.state in CLOSED_STATES


def path_in(home: str) -> str:
    return f"{home}/data/UPDATE_LOCK.json"


def read(home: str) -> Lock | None:
    """The lock in `home`, or None without one, which costs microseconds.

    Raises LockUnreadable for whatever is not a lock.
    """
    try:
        # Not blocking: a pipe of that name must not hold the app.
        descriptor = os.open(path_in(home), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockUnreadable(str(error)) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise LockUnreadable("it is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(SIZE_LIMIT)
    except OSError as error:
        raise LockUnreadable(str(error)) from None
    finally:
        os.close(descriptor)
    return _parse(content)


def _parse(content: bytes) -> Lock:
    import json  # only where there is a lock: starting without one stays cheap

    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LockUnreadable(f"it is not JSON ({error})") from None
    if not isinstance(facts, dict) or not isinstance(facts.get("state"), str):
        raise LockUnreadable("it does not say a state")

    def text(key: str) -> str:
        value = facts.get(key)
        return value if isinstance(value, str) else ""

    return Lock(
        state=facts["state"],
        from_release=text("from") or None,
        to_release=text("to") or None,
        ref=text("ref") or None,
        reason=text("reason"),
        token=text("token"),
        since=text("since") or text("requested_at"),
    )
