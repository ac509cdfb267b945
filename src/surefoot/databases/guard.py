"""The process that holds a pinned database's locks while the engine may be gone.

It does nothing else. It outlives a stop of everything else by signals, since an app that closes its
database last would bring the log into the main file.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from surefoot.databases.processes import GUARD, SETTLING, end_marked

if TYPE_CHECKING:
    from surefoot.databases.locks import Held
    from surefoot.databases.records import Pinned

LASTS_S = 3600
"""The longest that the locks outlive the engine."""

# Those that this process has left, by the snapshot's work folder.
_left: set[str] = set()


def is_left(snapshot: Pinned) -> bool:
    """Whether this process has left one, and has not ended it since."""
    return snapshot.key in _left


def end(snapshot: Pinned) -> None:
    """Whoever has left it."""
    _left.discard(snapshot.key)
    end_marked(snapshot.key, GUARD)


def leave(snapshot: Pinned, held: Held) -> None:
    """Hands the locks on to a new one."""
    subprocess.Popen(
        ["/bin/sh", "-c", f"trap '' HUP INT TERM; exec sleep {LASTS_S}"],
        env={GUARD: snapshot.key, SETTLING: snapshot.database, "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
        pass_fds=(held.main, held.index),
    ).returncode = 0  # its end is nobody's business
    _left.add(snapshot.key)
