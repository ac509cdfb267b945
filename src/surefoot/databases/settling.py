"""After the commit: brings a long log into the main file beside the running app, and gives a
database that was switched its own journal mode again. A process of its own, so that neither the
update nor the app's first write has to wait for it; when it is killed the app does the former by
itself, and the next start of the supervisor the latter.

    python -m surefoot.databases.settling DATABASE GUARD     what `begin` starts
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic, sleep

from surefoot.databases import journal_mode, locks, sqlite
from surefoot.databases.processes import GUARD, SETTLING, end_marked

LONG_BYTES = 4 * 1024 * 1024
"""A shorter log is what SQLite itself brings in at a commit, by default."""
PATIENCE_S = 600.0
RETRY_S = 0.2
_NICE = 10


def begin(database: Path, guard: str) -> bool:
    """Starts the process, where there is something to do for it; it ends the guard first."""
    is_long = False
    with suppress(FileNotFoundError):  # the app runs, and its last connection takes it away
        is_long = sqlite.companions(database)[0].stat().st_size > LONG_BYTES
    if not is_long and not journal_mode.note(database).exists():
        return False
    subprocess.Popen(
        [sys.executable, "-I", "-m", "surefoot.databases.settling", str(database), guard],
        env={SETTLING: str(database), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    ).returncode = 0  # its end is nobody's business
    return True


def end(database: Path) -> None:
    """Ends what an earlier update has left at work on the database, guards included."""
    end_marked(str(database.resolve()), SETTLING)


def settle(database: Path, guard: str) -> None:
    """Returns when nothing is left to do, or when its patience is at an end."""
    deadline = monotonic() + PATIENCE_S
    _let_go(database, guard)
    while not _is_done(database) and monotonic() < deadline:
        sleep(RETRY_S)


def _let_go(database: Path, guard: str) -> None:
    """Ends the guard. Until the last instant the app cannot begin the checkpoint, in one of its own
    writes: whoever finds the lock of the checkpoint taken goes on without."""
    index = sqlite.companions(database)[2]
    try:
        descriptor = os.open(index, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        end_marked(guard, GUARD)
        return
    try:
        locks.lock(descriptor, locks.CHECKPOINT_BYTE, 1, fcntl.F_WRLCK)
        end_marked(guard, GUARD)
    finally:
        os.close(descriptor)


def _is_done(database: Path) -> bool:
    """Whether the log is in the main file, and the mode the app's own."""
    if not database.exists():
        return True
    with closing(sqlite.connect(database, write=True)) as connection:
        connection.execute("PRAGMA busy_timeout=0")
        busy, in_log, brought_in = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if busy or in_log != brought_in:
            return False
        with suppress(sqlite3.OperationalError):  # a reader is in the way: it is only the length
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return journal_mode.settle(database)


if __name__ == "__main__":
    os.nice(_NICE)
    settle(Path(sys.argv[1]), sys.argv[2])
