"""What it costs to be able to put a SQLite database back, and to do it, by the database's size.

Surefoot's way is compared with what people write: `shutil.copy2`, SQLite's backup API and
`VACUUM INTO`. All of them happen while the app is stopped. The failing migration adds a column and
fills it for every twentieth row before it fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.effort import Effort
from bench.results import Figures
from surefoot.databases import snapshot, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.results import Row

MB = 1024 * 1024
ROW_BYTES = 4000


@dataclass(frozen=True)
class Size:
    """How large, and how often it is measured by us and by the others."""

    name: str
    mb: int
    repeats: int
    others: int


SIZES = (Size("50 MB", 50, 10, 10), Size("1 GB", 1024, 10, 2), Size("4 GB", 4096, 10, 1))
QUICK = (Size("20 MB", 20, 2, 1), Size("100 MB", 100, 2, 1))

_FAILING = """
import os, sqlite3
connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
connection.execute("ALTER TABLE notes ADD COLUMN length INTEGER")
connection.execute("UPDATE notes SET length = length(text) WHERE id % 20 = 0")
os._exit(1)
"""
_GOOD = """
import os, sqlite3
connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
connection.execute("INSERT INTO notes (text) VALUES (zeroblob(100))")
connection.close()
"""


def measure(folder: Path, *, effort: Effort, only: Sequence[str] = ()) -> list[Row]:
    """A quick run takes small databases."""
    folder.mkdir(parents=True)
    figures = Figures()
    for planned in QUICK if effort is Effort.QUICK else SIZES:
        size = replace(
            planned,
            repeats=effort.repeats(planned.repeats),
            others=effort.repeats(planned.others),
        )
        place = folder / size.name.replace(" ", "")
        place.mkdir()
        database = place / "app.db"
        create(database, size.mb)
        if not only or "surefoot" in only:
            _surefoot(database, place, size, figures)
        wanted = digest(database)
        for name, (copy, put_back) in OTHERS.items():
            for repeat in range(0 if only and name not in only else size.others):
                began_s = time.monotonic()
                copy(database, place / "copy.db")
                figures.add(name, size.name, "downtime_added", "s", time.monotonic() - began_s)
                _migrate(_FAILING, str(database))
                began_s = time.monotonic()
                put_back(place / "copy.db", database)
                figures.add(name, size.name, "rollback", "s", time.monotonic() - began_s)
                if repeat == size.others - 1:
                    same = digest(database) == wanted
                    figures.add(name, size.name, "digest_identical", "share", float(same))
                    wanted = digest(database)
        shutil.rmtree(place)
        print(f"  {size.name}", flush=True)
    return figures.rows()


def create(database: Path, mb: int) -> None:
    """In WAL mode, all of it in the main file, on the disk."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text BLOB)")
        for _ in range(0, mb, 64):
            rows = min(64, mb) * MB // (ROW_BYTES + 96)
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                "INSERT INTO notes (text) SELECT randomblob(?) FROM n",
                (rows, ROW_BYTES),
            )
            connection.commit()
    os.sync()


def digest(database: Path) -> str:
    with database.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _surefoot(database: Path, place: Path, size: Size, figures: Figures) -> None:
    work = place / "snapshot"
    wanted = digest(database)
    for _ in range(size.repeats):  # an update that fails, and is rolled back
        taken = snapshot.take("main", database, work, redirectable=True)
        snapshot.prepare(taken)
        _migrate_at(_FAILING, taken)
        began_s = time.monotonic()
        snapshot.restore(taken, None)
        figures.add("surefoot", size.name, "rollback", "s", time.monotonic() - began_s)
        snapshot.release(taken)
    same = digest(database) == wanted  # what one has left wrong, the next ones do not mend
    figures.add("surefoot", size.name, "digest_identical", "share", float(same))
    for _ in range(size.repeats):  # one that goes well
        began_s = time.monotonic()
        taken = snapshot.take("main", database, work, redirectable=True)
        snapshot.prepare(taken)
        added_s = time.monotonic() - began_s
        _migrate_at(_GOOD, taken)
        began_s = time.monotonic()
        snapshot.adopt(taken)
        added_s += time.monotonic() - began_s
        figures.add("surefoot", size.name, "downtime_added", "s", added_s)
        snapshot.release(taken)
        with closing(sqlite3.connect(database)) as connection:  # as it is done after the commit
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _migrate_at(code: str, taken: snapshot.Snapshot) -> None:
    path = snapshot.migration_url(taken).removeprefix("sqlite:///")
    variables = snapshot.migration_environment(taken, None)
    _migrate(code, path, variables, snapshot.pass_fds(taken))


def _migrate(
    code: str, path: str, variables: dict[str, str] | None = None, fds: tuple[int, ...] = ()
) -> None:
    environment = os.environ | (variables or {}) | {"DATABASE": path}
    command = [sys.executable, "-c", code]
    failed = subprocess.run(command, env=environment, pass_fds=fds, check=False).returncode
    if failed != (code is _FAILING):
        raise RuntimeError("The migration did not end as it was to.")


def _by_copy2(source: Path, target: Path) -> None:
    shutil.copy2(source, target)


def _by_backup(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    with (
        closing(sqlite3.connect(source)) as connection,
        closing(sqlite3.connect(target)) as copy,
    ):
        connection.backup(copy)


def _by_vacuum(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))


def _copy_back(copy: Path, database: Path) -> None:
    for companion in sqlite.companions(database):
        companion.unlink(missing_ok=True)
    shutil.copy2(copy, database)


def _rename_back(copy: Path, database: Path) -> None:
    for companion in sqlite.companions(database):
        companion.unlink(missing_ok=True)
    copy.replace(database)


OTHERS: dict[str, tuple[Callable[[Path, Path], None], Callable[[Path, Path], None]]] = {
    "copy2": (_by_copy2, _copy_back),
    "backup_api": (_by_backup, _rename_back),
    "vacuum_into": (_by_vacuum, _rename_back),
}
