"""SQLite files: a correct copy of a live one, and what can be read of one without touching it.

Reading is done with `mode=ro` and never with `immutable=1`, which would ignore the write-ahead log
and return what was true before it. Only a copy that nobody else can have open is read that way.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.parse import quote

from surefoot import durable
from surefoot.databases import django
from surefoot.databases.processes import holders, named
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "applied_in",
    "back_up",
    "check",
    "companions",
    "connect",
    "explained",
    "holders",
    "revisions_of",
    "rows_per_table",
    "schema_of",
    "settle",
]

Progress = Callable[[int, int], None]
"""Told how many pages are done, of how many."""

PAGES_PER_STEP = 2000
REST = 1.0
"""How long a backup rests after each step, in lengths of the step."""
MAX_RESTARTS = 3
BUSY_S = 10.0
HEADER_BYTES = 100

# Without the app's own extensions a check cannot be carried through; that is no damage.
_FOREIGN = ("no such module", "no such collation", "unknown tokenizer", "no such function")


def back_up(
    source: Path, target: Path, *, rest: float = REST, progress: Progress | None = None
) -> None:
    """Copies a database that is in use, write-ahead log included, durably and checked.

    In steps of 8 MB or so, and after each it rests, `rest` times as long as the step took, so that
    the app has its share of the disk. It ends however much is written meanwhile: in WAL mode it
    copies one moment of the database, and nobody waits for it; in the other modes writers wait for
    one step, and where they make it begin anew too often it goes on without rests.

    Raises DatabaseError where `target` exists, or where the copy cannot be made; there is no
    target then.
    """
    if target.exists():
        raise DatabaseError(f"{target} exists and is not overwritten.")
    temporary = target.with_name(f".{target.name}.part")
    _remove_with_companions(temporary)
    try:
        with explained(source, "could not be copied", "The database was not touched."):
            _copy_pages(source, temporary, rest, progress)
            check(temporary)
        shutil.copymode(source, temporary)
        if os.geteuid() == 0:
            os.chown(temporary, source.stat().st_uid, source.stat().st_gid)
        durable.sync_file(temporary)
        _take_name(temporary, target)
    finally:
        _remove_with_companions(temporary)
    durable.sync_folder(target.parent)


def _copy_pages(source: Path, target: Path, rest: float, progress: Progress | None) -> None:
    with closing(connect(source)) as live:
        if live.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
            # One read transaction around all the steps: what is written meanwhile cannot restart
            # them.
            live.execute("BEGIN")
            live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            _write_pages(live, target, PAGES_PER_STEP, _Steps(rest, progress))
        except _RestartedError:
            _remove_with_companions(target)  # half of it is no database
            _write_pages(live, target, -1, _Steps(0, progress))


def _write_pages(live: sqlite3.Connection, target: Path, pages: int, steps: _Steps) -> None:
    with closing(sqlite3.connect(target)) as copy:
        # The temporary file is thrown away when this fails, and fsynced when it does not.
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        live.backup(copy, pages=pages, progress=steps.done)


class _RestartedError(Exception):
    """Somebody writes so often that a copy in steps does not come to its end."""


@dataclass
class _Steps:
    """Rests between the steps of a backup."""

    rest: float
    progress: Progress | None
    _remaining: int = -1
    _restarts: int = 0
    _begin: float = field(default_factory=monotonic)

    def done(self, _: int, remaining: int, total: int) -> None:
        """After each step."""
        if self.progress is not None:
            self.progress(total - remaining, total)
        self._restarts += 0 <= self._remaining <= remaining
        self._remaining = remaining
        if self.rest and self._restarts > MAX_RESTARTS:
            raise _RestartedError
        if remaining:
            sleep(self.rest * (monotonic() - self._begin))
        self._begin = monotonic()


def _take_name(temporary: Path, target: Path) -> None:
    """Renames, but never over something."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        raise DatabaseError(f"{target} exists and is not overwritten.") from None
    except OSError:  # a file system without hard links
        temporary.rename(target)


def _remove_with_companions(path: Path) -> None:
    for file in (path, *companions(path)):
        file.unlink(missing_ok=True)


def check(path: Path) -> None:
    """Raises DatabaseError where a copy (that nobody else has open) is not a sound database."""
    with closing(connect(path, own=True)) as connection:
        try:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not str(error).startswith(_FOREIGN):
                raise
            found = "ok"
    if found != "ok":
        raise DatabaseError(f"{path} is damaged: {found}.")


def schema_of(path: Path, *, own: bool = False) -> str:
    """A digest of the schema and of what the migration tools note about it; "" without a file.

    `own` says that nobody else can have the file open, as with a copy.
    """
    if not path.exists():
        return ""
    digest = hashlib.sha256()
    with explained(path, "cannot be read"), closing(connect(path, own=own)) as connection:
        tables = _tables(connection)
        queries = [
            "PRAGMA user_version",
            "SELECT type, name, sql FROM sqlite_master WHERE substr(name, 1, 7) != 'sqlite_'",
        ]
        if "alembic_version" in tables:
            queries.append("SELECT * FROM alembic_version")
        if "django_migrations" in tables:
            queries.append("SELECT app, name FROM django_migrations")
        for query in queries:
            rows = sorted(repr(row) for row in connection.execute(query))
            digest.update("\n".join([query, *rows, ""]).encode())
    return digest.hexdigest()


def rows_per_table(path: Path) -> dict[str, int]:
    """How many rows each table has; a table that only the app's own extensions can read is left
    out. Empty without a file."""
    if not path.exists():
        return {}
    counts = {}
    with explained(path, "cannot be read"), closing(connect(path)) as connection:
        for table in sorted(_tables(connection)):
            quoted = table.replace('"', '""')
            with suppress(sqlite3.OperationalError):
                query = f'SELECT count(*) FROM "{quoted}"'  # noqa: S608 - a name, quoted
                counts[table] = int(connection.execute(query).fetchone()[0])
    return counts


def revisions_of(path: Path, *, own: bool = False) -> list[str]:
    """The revisions of Alembic that the database is at, sorted; empty where there are none."""
    if not path.exists():
        return []
    with explained(path, "cannot be read"), closing(connect(path, own=own)) as connection:
        if "alembic_version" not in _tables(connection):
            return []
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return sorted(str(row[0]) for row in rows)


def applied_in(path: Path, *, own: bool = False) -> list[str]:
    """Of Django's migrations the last of each app, as `app.name`; empty where there are none."""
    if not path.exists():
        return []
    with explained(path, "cannot be read"), closing(connect(path, own=own)) as connection:
        if django.NOTES not in _tables(connection):
            return []
        applied = connection.execute("SELECT app, name FROM django_migrations ORDER BY id")
        return django.last_of_each_app(applied.fetchall())


def copy_notes(source: Path, target: Path) -> bool:
    """Makes a database of what Django has noted about its migrations of `source`; False where it
    has noted nothing."""
    with explained(source, "cannot be read"), closing(connect(source)) as connection:
        if "django_migrations" not in _tables(connection):
            return False
        noted = connection.execute("SELECT id, app, name, applied FROM django_migrations")
        rows = noted.fetchall()
    with closing(sqlite3.connect(target, isolation_level=None)) as made:
        made.execute(
            "CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(255), "
            "name varchar(255), applied datetime)"
        )
        made.executemany("INSERT INTO django_migrations VALUES (?, ?, ?, ?)", rows)
    return True


def settle(path: Path) -> None:
    """Brings everything that is committed into the main file, durably; leaves no log behind.

    Raises sqlite3.Error, or DatabaseError where somebody else has the database open.
    """
    with closing(connect(path, write=True)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(
            "SELECT count(*) FROM sqlite_master"
        ).fetchone()  # rolls back, if need be
        if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise in_use(path)


def in_use(path: Path) -> DatabaseError:
    """The error that names who has the database open."""
    pids = [pid for pid in holders(path) if pid != os.getpid()]
    return DatabaseError(
        f"The database {path} is in use by {named(pids)}; it was left as it is.",
        next_step="End that process, or let it be one of the app's own, and try again.",
    )


def companions(path: Path) -> tuple[Path, ...]:
    """The files that SQLite may keep beside a database."""
    return tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-journal", "-shm"))


def connect(path: Path, *, write: bool = False, own: bool = False) -> sqlite3.Connection:
    """A connection that never creates the database. Close it: leaving a `with` does not."""
    mode = "rw" if write else "ro"
    options = f"mode={mode}&immutable=1" if own else f"mode={mode}"
    return sqlite3.connect(
        f"file:{quote(str(path))}?{options}", uri=True, timeout=BUSY_S, isolation_level=None
    )


@contextmanager
def explained(path: Path, what: str, untouched: str = "") -> Iterator[None]:
    """Turns SQLite's errors into ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise DatabaseError(f"The database {path} {what}: {error}. {untouched}".strip()) from error


def _tables(connection: sqlite3.Connection) -> set[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    return {
        str(row[0]) for row in connection.execute(query) if not str(row[0]).startswith("sqlite_")
    }
