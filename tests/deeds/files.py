"""What is done to files in general, and to those that say how far an update is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from surefoot import config, durable
from surefoot.control import Processes
from surefoot.home import Home
from surefoot.releases.ledger import Ledger
from surefoot.update import history
from surefoot.update.history import History
from surefoot.update.local import LocalHost
from surefoot.update.lock import Lock, Update

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIGURATION = """\
[app]
command = "python app.py"
[source]
git = "/srv/app.git"
"""


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


# -- the history


def append(root: Path) -> None:
    History(Home(root)).append("u1", "recovered", lasting=True)


def append_the_same(root: Path) -> None:
    """The first was not to last by itself, and is what the second finds."""
    History(Home(root)).append("u1", "committed")
    History(Home(root)).append_once("u1", "committed")


def append_to_what_has_not_lasted(root: Path) -> None:
    History(Home(root)).append("u1", "requested")
    History(Home(root)).append("u1", "recovered", lasting=True)


def append_where_the_file_is_full(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "FILE_BYTES", 1000)
        History(Home(root)).append("u1", "requested", "x" * 1000)
        History(Home(root)).append("u1", "recovered", lasting=True)


def close_a_full_file(root: Path) -> None:
    """Before there is another: nobody may see that one, and not what came before."""
    History(Home(root)).append("u1", "requested", lasting=True)
    History(Home(root))._close_file(Home(root).history.stat().st_size)


def append_where_a_folder_lies(root: Path) -> None:
    Home(root).history.mkdir()
    History(Home(root)).append("u1", "recovered", lasting=True)


# -- the lock and the ledger


def save_a_lock(root: Path) -> None:
    Lock(Home(root)).save(Update(id="u1"))


def keep_a_lock_aside(root: Path) -> None:
    durable.write(Home(root).lock, b"{")
    Lock(Home(root)).keep_aside()


def keep_a_folder_aside(root: Path) -> None:
    Home(root).lock.mkdir()
    Lock(Home(root)).keep_aside()


def put_a_ledger_aside(root: Path) -> None:
    durable.write(Home(root).ledger, b"{")
    Ledger.load(Home(root).ledger, now=datetime.now(UTC))


def look_after_a_crash(root: Path) -> None:
    """What a killed engine has given its name, and not flushed."""
    home = Home(root)
    for folder in (root, home.data, home.releases, home.backups / "in_flight"):
        durable.make_folder(folder)
        (folder / "left").write_text("whole")
        durable.sync_file(folder / "left")
    LocalHost(home, config.parse(CONFIGURATION), Processes()).sync()


DEEDS: list[Callable[[Path], None]] = [
    *(replace, remove, link, make_folders, remove_tree, flush_tree),
    *(append, append_the_same, append_to_what_has_not_lasted, append_where_the_file_is_full),
    *(close_a_full_file, append_where_a_folder_lies),
    *(save_a_lock, keep_a_lock_aside, keep_a_folder_aside, put_a_ledger_aside, look_after_a_crash),
]
