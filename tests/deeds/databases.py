"""What is done to databases, each given one in the journal mode that is named with the deed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.databases import support

from surefoot import durable
from surefoot.databases import (
    backups,
    binding,
    copying,
    files,
    guard,
    journal_mode,
    pinning,
    replacing,
    retention,
    sqlite,
)
from surefoot.databases.records import Copied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def make(root: Path, mode: str) -> Path:
    database = support.make(root / "data" / "app.db", rows=20)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute(f"PRAGMA journal_mode={mode}")
    return database


def back_up(root: Path, database: Path) -> None:
    backups.make(root / "backups", database, database="main", release="v1")


def copy_a_live_one(root: Path, database: Path) -> None:
    sqlite.back_up(database, root / "copy.db")


def remove_backups(root: Path, database: Path) -> None:
    for _ in range(3):
        back_up(root, database)
    assert retention.prune(root / "backups", 1, set())


def keep_what_is_replaced(root: Path, database: Path) -> None:
    support.insert(database, 1)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    replacing.keep_replaced(root / "backups", database, database="main")


def duplicate(root: Path, database: Path) -> None:
    files.duplicate(database, root / "copy.db")


def put(root: Path, database: Path) -> None:
    files.duplicate(database, root / "copy.db")
    files.put(root / "copy.db", database)


def remove_what_lies_beside(root: Path, database: Path) -> None:
    (root / "data" / "app.db-journal").touch()
    durable.sync_folder(root / "data")
    files.remove_companions(database)


def switch(root: Path, database: Path) -> None:
    journal_mode.switch(database)
    files.remove_companions(database)
    del root


def switch_back(root: Path, database: Path) -> None:
    """To a time that it did not have, so that it is seen to be other than at the beginning."""
    before = journal_mode.switch(database)
    files.remove_companions(database)
    journal_mode.put_back(database, before, modified_ns=1)
    del root


# -- snapshots


def copy_what_nobody_has_flushed(root: Path, database: Path) -> None:
    """A copy is put back where it is seen to be other, so it may not become other by itself."""
    _write(database, "INSERT INTO items VALUES (0)")
    copying.take("main", database, root / "folder")


def copy_and_adopt(root: Path, database: Path) -> None:
    taken = copying.take("main", database, root / "folder")
    _write(database, "PRAGMA user_version=8")
    copying.adopt(taken)


def adopt_the_first(root: Path, database: Path) -> None:
    first = database.with_name("first.db")
    taken = copying.take("main", first, root / "folder")
    _write(first, "CREATE TABLE notes (text)")
    copying.adopt(taken)


def restore_once_more(root: Path, database: Path) -> None:
    """After one that was killed when the copy had the name, and its folder was not flushed."""
    taken = copying.take("main", database, root / "folder")
    assert isinstance(taken, Copied)
    database.unlink()
    database.hardlink_to(taken.copy_path)
    copying.restore(taken, None, update="u1", release="r1")


def pin_and_adopt(root: Path, database: Path) -> None:
    _adopted(root, database, redirectable=True)


def pin_in_place_and_adopt(root: Path, database: Path) -> None:
    _adopted(root, database, redirectable=False)


def _adopted(root: Path, database: Path, *, redirectable: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binding, "is_possible", lambda _: False)
        taken = pinning.take("main", database, root / "folder", redirectable=redirectable)
    path = database if taken.in_place else taken.work_path
    assert support.runs_to_end(lambda: _write(path, "PRAGMA user_version=8"))
    pinning.adopt(taken)
    guard.end(taken)
    pinning._let_go(taken)


def _write(path: Path, statement: str) -> None:
    """As an app that flushes nothing itself."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(statement)


DEEDS: list[tuple[Callable[[Path, Path], None], str]] = [
    (back_up, "wal"),
    (copy_a_live_one, "wal"),
    (remove_backups, "wal"),
    (keep_what_is_replaced, "wal"),
    (duplicate, "wal"),
    (put, "wal"),
    (remove_what_lies_beside, "delete"),
    (switch, "delete"),
    (switch_back, "delete"),
    (copy_what_nobody_has_flushed, "delete"),
    (copy_and_adopt, "wal"),
    (adopt_the_first, "wal"),
    (restore_once_more, "wal"),
    (pin_and_adopt, "wal"),
    (pin_in_place_and_adopt, "wal"),
]
