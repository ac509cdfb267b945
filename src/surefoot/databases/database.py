"""One database of the app, as the transaction sees it, whatever kind it is.

    database = of("main", config.database["main"], home.root)

What is done to a snapshot that `take` has made is in `snapshot`; it goes by the record's kind.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from surefoot.databases import (
    backups,
    comparison,
    files,
    journal_mode,
    replacing,
    snapshot,
    sqlite,
)
from surefoot.databases.snapshot import SCHEME
from surefoot.errors import DatabaseError

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

    def lacks(self) -> list[DatabaseError]:
        """What an update would fail for, as far as it can be seen before."""

    def size_bytes(self) -> int:
        """What a copy of it needs here; 0 where there is none."""

    @property
    def place(self) -> str:
        """Where it is, for people."""

    def is_open_in(self, pids: set[int]) -> bool:
        """Whether one of these processes is seen to have it open."""

    def was_reached(self, output: str) -> bool:
        """Of one that is not there: whether a program, which has printed this, went there."""

    def schema(self) -> str:
        """A digest: two databases of the same schema have the same."""

    def revisions(self) -> list[str]:
        """The revisions of Alembic that it is at; empty where there are none."""

    def applied(self) -> list[str]:
        """Of Django's migrations the last of each app, as `app.name`; empty where none is."""

    def back_up(self, folder: Path, *, update: str, release: str) -> Kept:
        """Backs it up while it is in use, durably and verified."""

    def compare(self, now: Kept, then: Kept) -> list[Change]:
        """What would be different if the backup `then` took the place of what `now` is one of."""

    def put(self, kept: Kept, folder: Path, *, update: str, release: str) -> Path | str | None:
        """Puts a backup in its place, after what stands there was kept in `folder`, or beside it;
        returns where. The app is stopped; `release` is whose database it was."""

    def take(
        self,
        folder: Path,
        *,
        redirectable: bool,
        replaced: bool,
        switchable: bool,
        may_change: bool,
    ) -> Snapshot | None:
        """See `snapshot.take`. None where a snapshot would cost its size, and nothing that is known
        of the release may change the schema (`may_change`)."""

    def settle(self) -> None:
        """Gives it back what an update that had no snapshot yet has changed; the app is stopped."""

    def copy(self, kept: Kept | None, folder: Path) -> Copy:
        """One to try things on, made in `folder` from a backup; without one, of nothing."""

    def outline(self, folder: Path) -> Database | None:
        """One, made in `folder` or on the server, that has only what Django notes about this one;
        None where that cannot be had."""

    def nothing(self, folder: Path) -> Database:
        """A place in `folder` where there is none yet, for code that must not see the real one."""

    def sweep(self, *, replaced: bool) -> None:
        """Removes what earlier updates and rehearsals have left beside it; with `replaced` also
        what had to make room when it was put back. No update has a snapshot of it."""


class Copy(Database, Protocol):
    """A database to try things on. It goes with the folder that it was made in."""

    def changes(self) -> list[Change]:
        """What is different in it from what it was made from."""

    def differences(self, kept: Kept) -> list[str]:
        """The tables and columns that only it, or only the backup, has; `table.column`."""


def of(name: str, settings: Settings, home: Path) -> Database:
    """The database that the settings describe. Raises DatabaseError where what it takes to talk to
    it is not installed."""
    if not settings.is_postgresql:
        return SqliteDatabase(name, settings.path(home), settings.scheme)
    try:
        from surefoot.databases.postgresql.database import PostgresqlDatabase
    except ImportError as error:
        raise DatabaseError(
            f"The database {name} is PostgreSQL's, and Surefoot cannot talk to it: {error}.",
            next_step="Install what it takes: pip install 'surefoot[postgresql]'.",
        ) from None
    return PostgresqlDatabase(name, settings.url)


@dataclass(frozen=True)
class SqliteDatabase:
    """A file."""

    name: str
    path: Path
    scheme: str = SCHEME
    """What stands before the path in its URL, with the app's driver."""

    @property
    def url(self) -> str:
        return f"{self.scheme}{self.path}"

    def exists(self) -> bool:
        return self.path.exists()

    def lacks(self) -> list[DatabaseError]:
        return []  # what may be wrong with a file shows when it is backed up

    def size_bytes(self) -> int:
        size_bytes = 0
        for file in (self.path, self.path.with_name(f"{self.path.name}-wal")):
            with suppress(FileNotFoundError):  # a log goes with its last reader
                size_bytes += file.stat().st_size
        return size_bytes

    @property
    def place(self) -> str:
        return str(self.path)

    def is_open_in(self, pids: set[int]) -> bool:
        return bool(pids & set(sqlite.holders(self.path)))

    def was_reached(self, output: str) -> bool:  # noqa: ARG002 - whoever opens it makes it
        return self.path.exists()

    def schema(self) -> str:
        return sqlite.schema_of(self.path)

    def revisions(self) -> list[str]:
        return sqlite.revisions_of(self.path)

    def applied(self) -> list[str]:
        return sqlite.applied_in(self.path)

    def back_up(self, folder: Path, *, update: str, release: str) -> Kept:
        return backups.make(folder, self.path, database=self.name, update=update, release=release)

    def compare(self, now: Kept, then: Kept) -> list[Change]:
        return comparison.compare(now.file, then.file, own=True)

    def put(self, kept: Kept, folder: Path, *, update: str, release: str) -> Path | None:
        return replacing.restore(kept, self.path, folder, update=update, release=release)

    def take(
        self,
        folder: Path,
        *,
        redirectable: bool,
        replaced: bool,
        switchable: bool,
        may_change: bool,  # noqa: ARG002 - it is always worth it
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
        return SqliteCopy(self.name, made, self.scheme, kept.file if kept is not None else None)

    def outline(self, folder: Path) -> SqliteDatabase | None:
        made = folder / f"outline-{self.name}.db"
        is_made = sqlite.copy_notes(self.path, made)
        return SqliteDatabase(self.name, made, self.scheme) if is_made else None

    def nothing(self, folder: Path) -> SqliteDatabase:
        return SqliteDatabase(self.name, folder / f"nothing-{self.name}.db", self.scheme)

    def sweep(self, *, replaced: bool) -> None:
        pass  # its copies and snapshots lie in folders of their own


@dataclass(frozen=True)
class SqliteCopy(SqliteDatabase):
    """A copy, with the backup that it was made from."""

    origin: Path | None = None

    def changes(self) -> list[Change]:
        return [] if self.origin is None else comparison.compare(self.origin, self.path)

    def differences(self, kept: Kept) -> list[str]:
        return comparison.differences(self.path, kept.file)
