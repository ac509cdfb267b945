"""Whether a pinned database still is what was pinned, and what was written to it since."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from surefoot import durable, stored
from surefoot.databases import files, sqlite
from surefoot.databases.records import Stamp
from surefoot.errors import DamagedError, DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.databases.records import Pinned


def check(snapshot: Pinned) -> None:
    """Raises DatabaseError where the main file is not the pinned one any more."""
    database = snapshot.database_path
    if not snapshot.valid_path.exists():
        raise DatabaseError(
            f"The snapshot {snapshot.valid_path} is missing, so the database {database} cannot be "
            "put back; it was left as it is.",
            next_step="Put a backup back: `surefoot backups` lists them.",
        )
    if database.exists() and (
        (
            _is_like(files.stamp(database), snapshot.stamp)
            and files.header(database) == snapshot.header
        )
        or _is_switched_back(snapshot)
    ):
        return
    raise DatabaseError(
        f"The database {database} was pinned for the update, but its file has changed, so it "
        "cannot be put back; it was left as it is.",
        next_step="Put a backup back: `surefoot backups` lists them.",
    )


def _is_switched_back(snapshot: Pinned) -> bool:
    """Whether an interrupted restore has come as far as that."""
    database = snapshot.database_path
    return (
        bool(snapshot.header_before)
        and files.header(database) == snapshot.header_before
        and database.stat().st_ino == snapshot.stamp.inode
        and not files.has_log(database)
    )


def _is_like(one: Stamp, other: Stamp) -> bool:
    """Whether the content is the same; the time of change tells of names too."""
    return (one.inode, one.size_bytes, one.modified_ns) == (
        other.inode,
        other.size_bytes,
        other.modified_ns,
    )


def note_adopted(snapshot: Pinned, log: Path) -> None:
    """What the migration has written is about to be the database's own."""
    stamp = files.lasting_stamp(log) if log.exists() else None
    durable.write(snapshot.valid_path, msgspec.json.encode(stamp))


def has_rows_of_the_app(snapshot: Pinned) -> bool:
    """Whether the log holds something else than the migration."""
    log = sqlite.companions(snapshot.database_path)[0]
    if not files.has_log(snapshot.database_path):
        return False
    if snapshot.in_place and not stored.read(snapshot.valid_path):
        return False  # the app was not started since
    try:
        adopted = msgspec.json.decode(stored.read(snapshot.valid_path), type=Stamp | None)
    except (OSError, DamagedError, msgspec.MsgspecError):
        return True
    return adopted is None or not _is_like(files.stamp(log), adopted)
