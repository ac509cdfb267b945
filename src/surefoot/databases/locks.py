"""Locks on the bytes that SQLite itself locks, held by open file descriptions.

SQLite's own (POSIX) locks vanish as soon as the process closes any descriptor of the file. These
belong to the open file description: they live until its last copy is closed, and so can be
handed to a child. See fcntl(2), "Open file description locks", and SQLite's os_unix.c, wal.c.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.databases import files, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PENDING_BYTE = 0x40000000
"""The first of the bytes in the main file: pending, reserved, and 510 that readers share."""
ALL_BYTES = 512
SHARED_BYTE = PENDING_BYTE + 2
SHARED_BYTES = 510

# In the index of the log (`-shm`): see WALINDEX_LOCK_OFFSET and the table above it in wal.c.
WRITE_BYTE = 120
"""Exclusive: nobody else can write."""
CHECKPOINT_BYTE = 121
"""Exclusive: nobody else can begin a checkpoint."""
READ_BYTE = 123
"""Read mark 0. Shared: no checkpoint can write a page of the main file."""
OPEN_BYTE = 128
"""Shared by everybody who has the database open; exclusive: nobody else can open it."""

# struct flock with 64-bit offsets: l_type, l_whence, l_start, l_len, l_pid.
_FLOCK = struct.Struct("hhqqi4x")


def lock(descriptor: int, start: int, length: int, kind: int) -> bool:
    """Takes F_RDLCK or F_WRLCK, or gives up (F_UNLCK); False where somebody else is in the way."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        if error.errno in {errno.EAGAIN, errno.EACCES}:
            return False
        raise
    return True


@contextmanager
def alone(database: Path) -> Iterator[bool]:
    """Keeps everybody else from even reading the database; yields False where that is not to be
    had, because it is open somewhere."""
    descriptor = os.open(database, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield lock(descriptor, PENDING_BYTE, ALL_BYTES, fcntl.F_WRLCK)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Held:
    """While it is open, no page of the database's main file changes, whoever writes to it."""

    main: int
    index: int

    def close(self) -> None:
        for descriptor in (self.index, self.main):
            with suppress(OSError):
                os.close(descriptor)


def hold(database: Path) -> Held:
    """Holds the main file as it is; what is in the log stays there.

    Raises DatabaseError where somebody is writing to the main file just now.
    """
    main = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        held = Held(main, os.open(sqlite.companions(database)[2], flags, 0o600))
    except OSError:
        os.close(main)
        raise
    files.like(database, held.index)
    # The first to open a database makes its index anew; SQLite would now leave that to us.
    if lock(held.index, OPEN_BYTE, 1, fcntl.F_WRLCK):
        os.ftruncate(held.index, 0)
    if (
        lock(held.index, OPEN_BYTE, 1, fcntl.F_RDLCK)
        and lock(held.main, SHARED_BYTE, SHARED_BYTES, fcntl.F_RDLCK)
        and lock(held.index, READ_BYTE, 1, fcntl.F_RDLCK)
    ):
        return held
    held.close()
    raise sqlite.in_use(database)


def freeze(database: Path) -> Held:
    """Brings what is committed into the main file of a database in WAL mode, and holds it so.

    Raises DatabaseError where somebody else has it open, sqlite3.Error where it cannot be read.
    """
    with (
        closing(sqlite.connect(database, write=True)) as writer,
        closing(sqlite.connect(database, write=True)) as reader,
    ):
        writer.execute("PRAGMA synchronous=FULL")
        busy, in_log, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy or in_log < 0:
            raise sqlite.in_use(database)
        # A reader that began on an empty log holds read mark 0 until we hold it too.
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        held = hold(database)
        if files.has_log(database):
            held.close()
            raise sqlite.in_use(database)
    return held
