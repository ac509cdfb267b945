"""What returns has lasted: each of these is done, and looked at as a power cut would leave it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.databases import support
from tests.lasting import lasting
from tests.releases.remote import Remote

from surefoot import durable
from surefoot.databases import backups, copying, files, journal_mode, replacing, retention
from surefoot.home import Home
from surefoot.releases import kept
from surefoot.releases.git import Candidate, GitSource
from surefoot.releases.ledger import Ledger
from surefoot.update import history
from surefoot.update.history import History
from surefoot.update.lock import Lock, Update, new_id

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def make_root(folder: Path) -> Path:
    """A home of which everything is on the disk already."""
    root = folder / "home"
    for name in ("data", "releases", "run", "folder/below"):
        (root / name).mkdir(parents=True)
    (root / "file").write_text("before")
    (root / "folder" / "below" / "file").write_text("before")
    return root


def replace(root: Path) -> None:
    durable.write(root / "file", b"after")


def remove(root: Path) -> None:
    durable.remove(root / "file")


def link(root: Path) -> None:
    durable.link(root / "current", "folder")


def make_folders(root: Path) -> None:
    durable.make_folder(root / "one" / "in" / "another")


def remove_tree(root: Path) -> None:
    durable.remove_tree(root / "folder")


def flush_tree(root: Path) -> None:
    (root / "made" / "below").mkdir(parents=True)
    (root / "made" / "below" / "file").write_text("by somebody")
    durable.sync_tree(root / "made")
    durable.sync_folder(root)


def append_to_the_history(root: Path) -> None:
    History(Home(root)).append(new_id(), "recovered", lasting=True)


def append_twice(root: Path) -> None:
    """The first was not to last by itself, and is what the second finds."""
    History(Home(root)).append("u1", "committed")
    History(Home(root)).append_once("u1", "committed")
    durable.sync_folder(root / "data")


def close_a_history_file(root: Path) -> None:
    history.FILE_BYTES = 1000
    History(Home(root)).append(new_id(), "requested", "x" * 1000)
    History(Home(root)).append(new_id(), "recovered", lasting=True)


def append_where_a_folder_lies(root: Path) -> None:
    Home(root).history.mkdir()
    History(Home(root)).append(new_id(), "recovered", lasting=True)


def save_a_lock(root: Path) -> None:
    Lock(Home(root)).save(Update(id="u1"))


def keep_a_lock_aside(root: Path) -> None:
    lock = Lock(Home(root))
    durable.write(Home(root).lock, b"{")
    lock.keep_aside()


def put_a_ledger_aside(root: Path) -> None:
    durable.write(Home(root).ledger, b"{")
    Ledger.load(Home(root).ledger, now=datetime.now(UTC))


def seed_a_folder(root: Path) -> None:
    shipped(root, "code/uploads/a/file")
    kept.link(root / "code", Home(root), ["uploads/"], first=True)
    durable.sync_tree(root / "code")


def seed_a_file(root: Path) -> None:
    shipped(root, "code/settings.ini")
    kept.link(root / "code", Home(root), ["settings.ini"], first=True)
    durable.sync_tree(root / "code")


def fetch_anew(root: Path) -> None:
    remote = Remote(root.parent / "remote")
    commit = remote.commit({"app.py": "x = 1"})
    GitSource(Home(root).mirror, remote.source()).fetch(
        Candidate("main", commit, None), lambda _: None
    )


def shipped(root: Path, name: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True)
    file.write_text("of the release")
    durable.sync_folder(root)


DEEDS: list[Callable[[Path], None]] = [
    *(replace, remove, link, make_folders, remove_tree, flush_tree),
    *(append_to_the_history, append_twice, close_a_history_file, append_where_a_folder_lies),
    *(save_a_lock, keep_a_lock_aside, put_a_ledger_aside),
    *(seed_a_folder, seed_a_file, fetch_anew),
]


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_it_has_lasted_when_it_returns(
    root: Path, deed: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "FILE_BYTES", 1000)
    with lasting(root):
        deed(root)


def test_what_is_moved_to_another_file_system_has_lasted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename is refused there, as it is between two file systems."""
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent and "code" in self.parts:
            raise OSError("Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with lasting(root):
        seed_a_folder(root)
    with lasting(root):
        (root / "code" / "settings.ini").write_text("of the release")
        kept.link(root / "code", Home(root), ["settings.ini"], first=True)
        durable.sync_tree(root / "code")


# -- databases


@pytest.fixture
def database(root: Path) -> Path:
    return make_database(root, "wal")


def make_database(root: Path, mode: str) -> Path:
    database = support.make(root / "data" / "app.db", rows=20)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute(f"PRAGMA journal_mode={mode}")
    return database


def back_up(root: Path, database: Path) -> None:
    backups.make(root / "backups", database, database="main", release="v1")


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


def switch_and_switch_back(root: Path, database: Path) -> None:
    modified_ns = database.stat().st_mtime_ns
    before = journal_mode.switch(database)
    files.remove_companions(database)
    journal_mode.put_back(database, before, modified_ns)
    del root


def switch(root: Path, database: Path) -> None:
    journal_mode.switch(database)
    files.remove_companions(database)
    del root


def copy_and_adopt(root: Path, database: Path) -> None:
    taken = copying.take("main", database, root / "folder")
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA user_version=8")
    copying.adopt(taken)


WITH_A_DATABASE: list[tuple[Callable[[Path, Path], None], str]] = [
    (back_up, "wal"),
    (keep_what_is_replaced, "wal"),
    (duplicate, "wal"),
    (put, "wal"),
    (remove_what_lies_beside, "delete"),
    (switch, "delete"),
    (switch_and_switch_back, "delete"),
    (copy_and_adopt, "wal"),
]


@pytest.mark.parametrize(
    ("deed", "mode"), WITH_A_DATABASE, ids=[deed.__name__ for deed, _ in WITH_A_DATABASE]
)
def test_so_it_has_with_a_database(
    root: Path, deed: Callable[[Path, Path], None], mode: str
) -> None:
    database = make_database(root, mode)
    with lasting(root):
        deed(root, database)


def test_removed_backups_are_gone_for_good(root: Path, database: Path) -> None:
    for _ in range(3):
        back_up(root, database)
    with lasting(root):
        assert retention.prune(root / "backups", 1, set())


def test_what_is_not_flushed_is_seen(root: Path) -> None:
    def seen(deed: Callable[[], object]) -> bool:
        try:
            with lasting(root):
                deed()
        except AssertionError:
            return True
        return False

    def renamed_first() -> None:
        (root / "new").write_text("x")
        (root / "new").rename(root / "file")
        durable.sync_file(root / "file")
        durable.sync_folder(root)

    assert seen(lambda: (root / "file").write_text("other"))
    assert seen(lambda: (root / "link").symlink_to("x"))
    assert seen((root / "link").unlink)
    assert seen(renamed_first)
    assert not seen(lambda: replace(root))


def needed(folder: Path) -> set[str]:
    """The places in the source, `file:line`, whose flushes none of this could do without."""
    found = set()
    file_bytes = history.FILE_BYTES
    for number, deed in enumerate(DEEDS):
        with lasting(root := make_root(folder / str(number))) as log:
            deed(root)
        found |= log.needed()
    history.FILE_BYTES = file_bytes
    for deed_with, mode in WITH_A_DATABASE:
        root = make_root(folder / deed_with.__name__)
        database = make_database(root, mode)
        with lasting(root) as log:
            deed_with(root, database)
        found |= log.needed()
    return found


def test_it_is_told_which_flush_is_needed(tmp_path: Path) -> None:
    assert {file for file, _, _ in (place.partition(":") for place in needed(tmp_path))} >= {
        *("durable.py", "update/history.py", "update/lock.py", "databases/files.py"),
        *("releases/kept.py", "releases/ledger.py", "releases/mirror.py"),
    }
