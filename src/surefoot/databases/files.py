"""Database files as files: copied, put into place, kept aside; each durable, each repeatable."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import suppress
from time import monotonic, sleep, time_ns
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.databases import sqlite
from surefoot.databases.processes import holders
from surefoot.databases.records import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S = 5.0
"""How long is waited for somebody who has the database open."""

_FICLONE = 0x40049409
# A file written again within one tick of the kernel's clock may keep its time.
_TICK_NS = 20_000_000


def duplicate(source: Path, target: Path) -> str:
    """Copies the bytes of a file that nobody writes; whoever looks sees no target or all of it.

    Shares the blocks where the file system can. Returns "reflink" or "copy".
    """
    temporary = target.with_name(f".{target.name}.part")
    temporary.unlink(missing_ok=True)
    method = "reflink"
    try:
        with source.open("rb") as reader, temporary.open("xb") as writer:
            os.fchmod(writer.fileno(), 0o600)
            try:
                fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
            except OSError:
                method = "copy"
                shutil.copyfile(source, temporary)
            like(source, writer.fileno())
            os.fsync(writer.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    durable.sync_folder(target.parent)
    return method


def shares_blocks(folder: Path) -> bool:
    """Whether the file system copies a file by sharing its blocks, in no time."""
    one, other = folder / ".probe", folder / ".probe2"
    try:
        one.write_bytes(bytes(4096))
        return duplicate(one, other) == "reflink"
    finally:
        one.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def like(source: Path, descriptor: int) -> None:
    """Gives the open file the owner and the mode of `source`."""
    status = source.stat()
    if os.geteuid() == 0:
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, status.st_mode & 0o7777)


def make_empty(path: Path, *, like_: Path) -> None:
    """A file of that name, if there is none, that whoever may use `like_` may use as well."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        like(like_, descriptor)
    finally:
        os.close(descriptor)


def own_like(folder: Path, other: Path) -> None:
    """Gives a folder the owner, where that is allowed, and the permissions of another."""
    found = other.stat()
    if os.geteuid() == 0:
        os.chown(folder, found.st_uid, found.st_gid)
    folder.chmod(found.st_mode & 0o7777)


def put(source: Path, database: Path) -> None:
    """Lets `database` be the file `source`, under both names where both lie on one file system.

    The database's own log must be gone before: it would be read into the new file.
    """
    temporary = database.with_name(f".{database.name}.put")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        duplicate(source, temporary)
    temporary.replace(database)
    durable.sync_folder(database.parent)


def remove_companions(database: Path) -> None:
    """Removes the log, the journal and the index, for good."""
    for file in sqlite.companions(database):
        file.unlink(missing_ok=True)
    durable.sync_folder(database.parent)


def remove_database(database: Path) -> None:
    """Removes a database, its log first: a log without its database must not survive it."""
    if database.parent.is_dir():
        remove_companions(database)
        durable.remove(database)


def has_log(database: Path) -> bool:
    """Whether something lies beside the main file that belongs to its content."""
    wal, journal, _ = sqlite.companions(database)
    return journal.exists() or (wal.exists() and wal.stat().st_size > 0)


def header(database: Path) -> bytes:
    """The first 100 bytes, where SQLite notes what kind of file it is."""
    with database.open("rb") as file:
        return file.read(sqlite.HEADER_BYTES)


def stamp(path: Path) -> Stamp:
    """By what a later change will be seen."""
    status = path.stat()
    return Stamp(
        inode=status.st_ino,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        changed_ns=status.st_ctime_ns,
    )


def lasting_stamp(path: Path) -> Stamp:
    """A stamp that no later change can share: waits out the tick of the clock files go by."""
    while 0 <= time_ns() - stamp(path).changed_ns < _TICK_NS:
        sleep(_TICK_NS / 1e9)
    return stamp(path)


def wait_until_free(database: Path) -> None:
    """Raises DatabaseError, naming them, where processes go on having the database open."""
    deadline = monotonic() + PATIENCE_S
    while any(pid != os.getpid() for pid in holders(database, writing=True)):
        if monotonic() > deadline:
            raise sqlite.in_use(database)
        sleep(0.02)


def settle(database: Path) -> None:
    """Everything that is committed is in the main file, and nobody has it open.

    Raises DatabaseError where that is not to be had; the database was not harmed.
    """
    wait_until_free(database)
    try:
        sqlite.settle(database)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
        }:
            raise sqlite.in_use(database) from error
        raise
    if has_log(database):
        raise sqlite.in_use(database)


def clear_for_another(database: Path, keep: Callable[[Path], Path | None] | None) -> Path | None:
    """Readies a database's place for another file; `keep` is given the database before.

    A power cut on the way shows the database whole, or (after a repeated call) the other one.
    """
    if not database.exists():
        remove_companions(database)
        return None
    with suppress(sqlite3.Error):  # what cannot be read is kept, and replaced, as it lies there
        settle(database)
    kept = keep(database) if keep is not None else None
    remove_companions(database)
    return kept


def same_content(one: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(1 << 20):
            if chunk != second.read(1 << 20):
                return False
    return True


def is_same(one: Path, other: Path) -> bool:
    """Whether two names mean one file."""
    with suppress(OSError):
        return one.samefile(other)
    return False
