"""One database of the app, as the transaction sees it, whatever kind it is.

    database = of("main", config.database["main"], home.root)

What is done to a snapshot that `take` has made is in `snapshot`; it goes by the record's kind.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from surefoot.databases import backups, comparison, files, journal_mode, snapshot, sqlite

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Database as Settings
    from surefoot.databases.backups import Kept
    from surefoot.databases.comparison import Change
    from surefoot.databases.snapshot import Snapshot


class Database(Protocol):
    """What is asked of a database. Raises DatabaseError where it cannot be read or written."""

    @property
    def name(self) -> str:
        """In the configuration."""

    @property
    def url(self) -> str:
        """As the app would be told it."""

    def exists(self) -> bool:
        """Whether there is one yet."""

    def size_bytes(self) -> int:
        """What a copy of it needs; 0 where there is none."""

    def own_files(self) -> list[Path]:
        """The files by which a process can be seen to have it open."""

    def schema(self) -> str:
        """A digest: two databases of the same schema have the same."""

    def revisions(self) -> list[str]:
        """The revisions of Alembic that it is at; empty where there are none."""

    def back_up(self, folder: Path, *, update: str, release: str) -> Kept:
        """Backs it up while it is in use, durably and verified."""

    def compare(self, now: Kept, then: Kept) -> list[Change]:
        """What would be different if the backup `then` took the place of what `now` is one of."""

    def put(self, kept: Kept, folder: Path, *, update: str, release: str) -> Path | None:
        """Puts a backup in its place, after what stands there was kept in `folder`; returns where.
        The app is stopped; `release` is whose database it was."""

    def take(
        self, folder: Path, *, redirectable: bool, replaced: bool, switchable: bool
    ) -> Snapshot:
        """See `snapshot.take`."""

    def settle(self) -> None:
        """Gives it back what an update that had no snapshot yet has changed; the app is stopped."""

    def copy(self, kept: Kept | None, folder: Path) -> Copy:
        """One to try things on, made in `folder` from a backup; without one, of nothing."""

    def outline(self, folder: Path) -> Database | None:
        """One, made in `folder`, that has only what Django notes about this one; None where that
        cannot be had."""

    def nothing(self, folder: Path) -> Database:
        """A place in `folder` where there is none yet, for code that must not see the real one."""


class Copy(Database, Protocol):
    """A database to try things on. It goes with the folder that it was made in."""

    def changes(self) -> list[Change]:
        """What is different in it from what it was made from."""

    def differences(self, kept: Kept) -> list[str]:
        """The tables and columns that only it, or only the backup, has; `table.column`."""


def of(name: str, settings: Settings, home: Path) -> Database:
    """The database that the settings describe."""
    return SqliteDatabase(name, settings.path(home))


@dataclass(frozen=True)
class SqliteDatabase:
    """A file."""

    name: str
    path: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def exists(self) -> bool:
        return self.path.exists()

    def size_bytes(self) -> int:
        size_bytes = 0
        for file in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            with suppress(FileNotFoundError):  # a log goes with its last reader
                size_bytes += file.stat().st_size
        return size_bytes

    def own_files(self) -> list[Path]:
        return [self.path]

    def schema(self) -> str:
        return sqlite.schema_of(self.path)

    def revisions(self) -> list[str]:
        return sqlite.revisions_of(self.path)

    def back_up(self, folder: Path, *, update: str, release: str) -> Kept:
        return backups.make(folder, self.path, database=self.name, update=update, release=release)

    def compare(self, now: Kept, then: Kept) -> list[Change]:
        return comparison.compare(now.file, then.file, own=True)

    def put(self, kept: Kept, folder: Path, *, update: str, release: str) -> Path | None:
        return backups.restore(kept, self.path, folder, update=update, release=release)

    def take(
        self, folder: Path, *, redirectable: bool, replaced: bool, switchable: bool
    ) -> Snapshot:
        return snapshot.take(
            self.name,
            self.path,
            folder,
            redirectable=redirectable,
            replaced=replaced,
            switchable=switchable,
        )

    def settle(self) -> None:
        with suppress(sqlite3.Error):  # where it cannot be read, nothing was changed
            journal_mode.settle(self.path)

    def copy(self, kept: Kept | None, folder: Path) -> SqliteCopy:
        own = folder / f"database-{self.name}"
        own.mkdir(parents=True)
        if self.path.parent.exists():
            files.own_like(own, self.path.parent)  # the app may run as somebody else
        made = own / self.path.name
        if kept is not None:
            files.duplicate(kept.file, made)
        return SqliteCopy(self.name, made, kept.file if kept is not None else None)

    def outline(self, folder: Path) -> SqliteDatabase | None:
        made = folder / f"outline-{self.name}.db"
        return SqliteDatabase(self.name, made) if sqlite.copy_notes(self.path, made) else None

    def nothing(self, folder: Path) -> SqliteDatabase:
        return SqliteDatabase(self.name, folder / f"nothing-{self.name}.db")


@dataclass(frozen=True)
class SqliteCopy(SqliteDatabase):
    """A copy, with the backup that it was made from."""

    origin: Path | None = None

    def changes(self) -> list[Change]:
        return [] if self.origin is None else comparison.compare(self.origin, self.path)

    def differences(self, kept: Kept) -> list[str]:
        return comparison.differences(self.path, kept.file)
