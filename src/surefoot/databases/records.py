"""What is remembered of a snapshot, in the update's lock.

A record holds everything that is needed to go on in another process after a crash; it says which
kind of snapshot it is in the field `kind`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    name: str
    """The database's name in the configuration."""
    database: str
    """Its file: absolute, symlinks resolved; or its name on the server."""
    folder: str
    """The snapshot's own folder."""
    reason: str = ""
    """Why this kind was taken rather than a faster one; empty where none is faster."""

    @property
    def database_path(self) -> Path:
        return Path(self.database)

    @property
    def way(self) -> str:
        """How it was taken, in a few words."""
        return "there is none yet"

    @property
    def folder_path(self) -> Path:
        return Path(self.folder)

    @property
    def restored_path(self) -> Path:
        """Is there once the database was put back: what comes after that is the app's own."""
        return self.folder_path / f"{self.name}.restored"


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """By what a file is seen to be untouched."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


class Absent(_Record, frozen=True, kw_only=True, tag="absent"):
    """There was no database yet."""


class Copied(_Record, frozen=True, kw_only=True, tag="copy"):
    """A copy, whole and durable, lies in the folder as `<name>.db`."""

    size_bytes: int
    schema_digest: str
    stamp: Stamp
    """Of the database itself, when the copy was made."""
    method: str = "copy"
    """`reflink` where the file system shares the blocks, else `copy`."""

    @property
    def way(self) -> str:
        return "copied by sharing blocks" if self.method == "reflink" else "copied"

    @property
    def copy_path(self) -> Path:
        return self.folder_path / f"{self.name}.db"


class Pinned(_Record, frozen=True, kw_only=True, tag="pin"):
    """The main file itself is held unchanged; all that is written goes into a log beside it."""

    stamp: Stamp
    """Of the main file. Its time of change does not count: a link to it comes and goes."""
    header: bytes
    """The first 100 bytes of the main file."""
    header_before: bytes = b""
    """What they were where the database was switched to a write-ahead log for the update."""
    in_place: bool = False
    """The migration works on the database itself, and not on a link to it."""
    bound: bool = False
    """The migration, and nobody else, is shown the link at the database's own path."""
    schema_digest: str

    @property
    def way(self) -> str:
        where = "pinned in place" if self.in_place else "pinned"
        where += ", shown at its own path" if self.bound else ""
        return f"{where}, in WAL mode meanwhile" if self.header_before else where

    @property
    def work_path(self) -> Path:
        """The hard link on which the migration works; its log lies beside it."""
        return self.folder_path / f"{self.name}.work" / self.database_path.name

    @property
    def key(self) -> str:
        """The folder of the link, by which what belongs to this snapshot is known."""
        return str(self.work_path.parent)

    @property
    def valid_path(self) -> Path:
        """Is there while the pin is valid; holds, from just before it becomes the database's own,
        the stamp of the migration's log."""
        return self.folder_path / f"{self.name}.pin"


class Cloned(_Record, frozen=True, kw_only=True, tag="clone"):
    """A database on a server, of that name there; a clone of it is migrated and takes its place."""

    oid: int
    """By which the server knows it whatever it is called."""
    redirected: bool
    """The migration is told of the clone; else the clone stands in the database's place."""
    schema_digest: str

    @property
    def url_path(self) -> Path:
        """Holds how the server is reached, which nobody else may read."""
        return self.folder_path / f"{self.name}.url"

    @property
    def record_path(self) -> Path:
        """Holds this record before anything is done to the database."""
        return self.folder_path / f"{self.name}.clone"

    @property
    def begun_path(self) -> Path:
        """Is there once a migration may have written to the clone."""
        return self.folder_path / f"{self.name}.begun"


Snapshot = Absent | Copied | Pinned | Cloned
