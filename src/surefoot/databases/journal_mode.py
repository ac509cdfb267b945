"""A database in a rollback journal's mode, switched to the write-ahead log's for an update.

Only in the latter mode can it be pinned. The switch changes a few bytes of the first 100, so
writing these back undoes it exactly, as long as nothing else was written. They lie beside the
database, in `.<name>.journal`, from before the switch until the database is what it was again:

    switch(database)      the app is stopped
    put_back(database)    the bytes, at a rollback; nothing else has been written
    settle(database)      the mode, after the commit; False while somebody has the database open
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.databases import files, sqlite

if TYPE_CHECKING:
    from pathlib import Path

_VERSIONS = slice(18, 20)
"""Of the file format, to write and to read: 1 for a rollback journal, 2 for a write-ahead log."""
ROLLBACK, LOG = b"\1\1", b"\2\2"


def is_switchable(header: bytes) -> bool:
    """Whether the header is that of a database with a rollback journal."""
    return header[_VERSIONS] == ROLLBACK and len(header) == sqlite.HEADER_BYTES


def is_log(header: bytes) -> bool:
    """Whether the header is that of a database with a write-ahead log."""
    return header[_VERSIONS] == LOG


def note(database: Path) -> Path:
    """Where the bytes lie while the database is switched."""
    return database.with_name(f".{database.name}.journal")


def switch(database: Path) -> bytes:
    """Lets the database have a write-ahead log; returns its first bytes of before.

    Raises sqlite3.Error, or DatabaseError where somebody has it open.
    """
    with closing(sqlite.connect(database, write=True)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # a hot journal goes
        before = files.header(database)
        durable.write(note(database), before, mode=0o600)
        connection.execute("PRAGMA synchronous=FULL")
        switched = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal"
    if not switched:
        durable.remove(note(database))
        raise sqlite.in_use(database)
    durable.sync_file(database)
    return before


def put_back(database: Path, before: bytes, modified_ns: int) -> None:
    """The file as it was before `switch`, byte for byte; nobody has it open, and it has no log."""
    with database.open("r+b") as file:
        file.write(before)
        file.flush()
        os.utime(file.fileno(), ns=(database.stat().st_atime_ns, modified_ns))
        os.fsync(file.fileno())
    durable.remove(note(database))


def settle(database: Path) -> bool:
    """Gives the database its own mode again, its log brought in; False where somebody has it open.

    Raises sqlite3.Error where it cannot be read.
    """
    if not note(database).exists():
        return True
    if database.exists() and files.header(database)[_VERSIONS] == LOG:
        with closing(sqlite.connect(database, write=True)) as connection:
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("PRAGMA synchronous=FULL")
            try:
                mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
            except sqlite3.OperationalError as error:
                if (error.sqlite_errorcode & 0xFF) not in {
                    sqlite3.SQLITE_BUSY,
                    sqlite3.SQLITE_LOCKED,
                }:
                    raise
                return False
        if mode != "delete":
            return False
    durable.remove(note(database))
    return True
