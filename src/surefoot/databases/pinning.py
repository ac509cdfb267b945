"""The snapshot by a pin: takes no time, however large the database is.

A checkpoint of the write-ahead log may write to the main file only while nobody holds read mark 0
of the log's index. It is held here, so the main file stays what it was, byte for byte, and all that
the migration writes is in its log:

- The migration works on a hard link to the main file, in a folder of its own. So its log lies
  in that folder, and the database itself shows its state before, whoever opens it.
- `adopt` is one rename: the migration's log becomes the database's own.
- Until `release` the main file stays held, by a small process of its own, so that the locks
  outlive the engine. To restore is to remove the log.

No process may have both names open at a time: SQLite would mix their indexes up.

A migration that has not been seen to go where it is told is shown the link at the database's own
path (`binding`). Where that cannot be done it works on the database itself, pinned in place: then
its log lies beside the database, and a crash has to be recovered from before the app is started.
A database without a write-ahead log gets one for the time of the update.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from surefoot import durable, stored
from surefoot.databases import (
    backups,
    binding,
    files,
    guard,
    journal_mode,
    locks,
    settling,
    sqlite,
    validity,
)
from surefoot.databases.processes import end_marked
from surefoot.databases.records import Pinned
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

# What this process holds of each snapshot, by its work folder: the database, and the link.
_held: dict[str, tuple[locks.Held, locks.Held | None]] = {}


def take(name: str, database: Path, folder: Path, *, redirectable: bool) -> Pinned:
    """Pins the database as it is. Raises DatabaseError or sqlite3.Error, with nothing changed."""
    bound = not redirectable and binding.is_possible(database)
    files.wait_until_free(database)
    modified_ns = database.stat().st_mtime_ns
    is_other = journal_mode.is_switchable(files.header(database))
    before = journal_mode.switch(database) if is_other else b""
    try:
        return _taken(
            name, database, folder, before, in_place=not redirectable and not bound, bound=bound
        )
    except BaseException:
        if before and not files.has_log(database):
            files.remove_companions(database)
            journal_mode.put_back(database, before, modified_ns)
        raise


def _taken(
    name: str, database: Path, folder: Path, before: bytes, *, in_place: bool, bound: bool
) -> Pinned:
    held = locks.freeze(database)
    try:
        record = Pinned(
            name=name,
            database=str(database),
            folder=str(folder),
            reason="its migration was not seen to go where it is told" if in_place else "",
            stamp=files.lasting_stamp(database),
            header=files.header(database),
            header_before=before,
            in_place=in_place,
            bound=bound,
            schema_digest=sqlite.schema_of(database),
        )
    except BaseException:
        held.close()
        raise
    _held[record.key] = (held, None)
    try:
        _build(record)
        durable.write(record.valid_path, b"")
    except BaseException:
        _let_go(record)
        raise
    return record


def clear(name: str, folder: Path) -> None:
    """Removes what an interrupted `take` has left."""
    work = folder / f"{name}.work"
    for held in _held.pop(str(work), ()):
        if held is not None:
            held.close()
    durable.discard(folder / f"{name}.pin")
    durable.remove_tree(work)


def pass_fds(snapshot: Pinned) -> tuple[int, ...]:
    """What the migration has to inherit."""
    both = _held.get(snapshot.key, ())
    return tuple(fd for held in both if held is not None for fd in (held.main, held.index))


def shown(snapshot: Pinned) -> list[tuple[Path, Path]]:
    """Which file has to be shown to the migration at the place of which."""
    if not snapshot.bound:
        return []
    work, database = snapshot.work_path, snapshot.database_path
    return list(zip(_with_log(work), _with_log(database), strict=True))


def _with_log(path: Path) -> tuple[Path, Path, Path]:
    log, _, index = sqlite.companions(path)
    return path, log, index


def prepare(snapshot: Pinned) -> None:
    """Back to `take`: an empty log beside the link, none beside the database."""
    end_marked(snapshot.folder)
    validity.check(snapshot)
    if stored.read(snapshot.valid_path) or (
        snapshot.in_place and files.has_log(snapshot.database_path)
    ):
        _drop_log(snapshot)
        durable.write(snapshot.valid_path, b"")
    elif files.has_log(snapshot.database_path):
        raise DatabaseError(
            f"Somebody has written to {snapshot.database} during the update; it was left as it is.",
            next_step="Find out who does that while the app is stopped.",
        )
    if _is_ready(snapshot):
        return
    _build(snapshot)


def was_written(snapshot: Pinned) -> bool:
    """Whether a log has come to be."""
    return files.has_log(snapshot.database_path if snapshot.in_place else snapshot.work_path)


def adopt(snapshot: Pinned) -> None:
    """The migration's log becomes the database's, durably and at once."""
    end_marked(snapshot.folder)
    validity.check(snapshot)
    database, work = snapshot.database_path, snapshot.work_path
    held = _hold(snapshot)
    guard.end(snapshot)
    files.wait_until_free(database)
    log, own_log = sqlite.companions(work)[0], sqlite.companions(database)[0]
    if snapshot.in_place:
        _adopt_in_place(snapshot)
    elif log.exists() and log.stat().st_size:
        with (
            sqlite.explained(database, "cannot be read after its migration"),
            closing(sqlite.connect(work)) as connection,
        ):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        durable.sync_file(log)
        validity.note_adopted(snapshot, log)
        if not locks.lock(held.index, locks.OPEN_BYTE, 1, fcntl.F_WRLCK):
            raise sqlite.in_use(database)
        log.replace(own_log)
        durable.sync_folder(database.parent)
        # As SQLite does when it is the first to open a database: the index is made anew.
        os.ftruncate(held.index, 0)
    elif not stored.read(snapshot.valid_path):
        validity.note_adopted(snapshot, own_log)
    locks.lock(held.index, locks.OPEN_BYTE, 1, fcntl.F_RDLCK)
    locks.lock(held.index, locks.WRITE_BYTE, 1, fcntl.F_UNLCK)
    _let_go_of_work(snapshot)
    guard.leave(snapshot, held)


def _adopt_in_place(snapshot: Pinned) -> None:
    """What the migration has written lies where it belongs, and only has to last."""
    database = snapshot.database_path
    log = sqlite.companions(database)[0]
    with (
        sqlite.explained(database, "cannot be read after its migration"),
        closing(sqlite.connect(database)) as connection,
    ):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if log.exists():
        durable.sync_file(log)
        durable.sync_folder(database.parent)
    if not stored.read(snapshot.valid_path):
        validity.note_adopted(snapshot, log)


def keep(snapshot: Pinned) -> None:
    """Holds the main file where the guard was lost with the power: the app, once it has brought the
    log in, could not be undone any more."""
    if guard.is_left(snapshot):
        return
    held = _hold(snapshot)
    guard.end(snapshot)
    guard.leave(snapshot, held)


def restore(
    snapshot: Pinned, keep_replaced: Path | None, *, update: str, release: str
) -> Path | None:
    """The log goes, and with it all that was written since `take`.

    Where the new release has written, after the migration, a copy of it all is kept before. That
    takes the time of a copy; otherwise this takes no time.
    """
    end_marked(snapshot.folder)
    if snapshot.restored_path.exists():
        return None
    validity.check(snapshot)
    database = snapshot.database_path
    _hold(snapshot)
    guard.end(snapshot)
    files.wait_until_free(database)
    kept = None
    if keep_replaced is not None and validity.has_rows_of_the_app(snapshot):
        kept = _keep(snapshot, keep_replaced, update, release)
    _drop_log(snapshot)
    if snapshot.header_before:
        journal_mode.put_back(database, snapshot.header_before, snapshot.stamp.modified_ns)
    durable.make_folder(snapshot.folder_path)
    durable.write(snapshot.restored_path, b"")
    _let_go(snapshot)
    return kept


def release(snapshot: Pinned) -> None:
    """Lets the main file change again, and brings the log into it beside the running app."""
    if snapshot.folder_path.is_dir():
        durable.discard(snapshot.valid_path)
        durable.discard(snapshot.restored_path)
    _let_go(snapshot)
    if settling.begin(snapshot.database_path, snapshot.key):
        return
    guard.end(snapshot)
    with (
        suppress(sqlite3.Error),  # the app does it by itself, only later
        closing(sqlite.connect(snapshot.database_path, write=True)) as connection,
    ):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _build(snapshot: Pinned) -> None:
    """Makes the work folder anew, with nothing written in it. The database has no log."""
    work, key = snapshot.work_path, snapshot.key
    files.wait_until_free(snapshot.database_path)
    with sqlite.explained(snapshot.database_path, "cannot be pinned"):
        if key not in _held:
            _held[key] = (locks.freeze(snapshot.database_path), None)
    held = _held[key][0]
    _let_go_of_work(snapshot)
    if snapshot.in_place:
        return
    if not locks.lock(held.index, locks.WRITE_BYTE, 1, fcntl.F_WRLCK):
        raise sqlite.in_use(snapshot.database_path)
    durable.make_folder(work.parent)
    work.hardlink_to(snapshot.database_path)
    with sqlite.explained(work, "cannot be pinned"):
        _held[key] = (held, locks.freeze(work))
    for pair in shown(snapshot):
        for path in pair:
            files.make_empty(path, like_=snapshot.database_path)


def _hold(snapshot: Pinned) -> locks.Held:
    """The locks on the database itself, taken again where an earlier process had them. What is in
    its log stays there."""
    held = _held.get(snapshot.key)
    if held is None:
        held = _held[snapshot.key] = (locks.hold(snapshot.database_path), None)
    return held[0]


def _let_go_of_work(snapshot: Pinned) -> None:
    held, work = _held[snapshot.key]
    if work is not None:
        work.close()
        _held[snapshot.key] = (held, None)
    durable.remove_tree(snapshot.work_path.parent)


def _let_go(snapshot: Pinned) -> None:
    for held in _held.pop(snapshot.key, ()):
        if held is not None:
            held.close()
    durable.remove_tree(snapshot.work_path.parent)


def _drop_log(snapshot: Pinned) -> None:
    """Removes the database's log first, so that its index never speaks of another one."""
    guard.end(snapshot)
    _let_go(snapshot)
    files.remove_companions(snapshot.database_path)


def _is_ready(snapshot: Pinned) -> bool:
    """Whether the link is held and nothing was written to it."""
    held = _held.get(snapshot.key)
    if held is None or snapshot.in_place:
        return held is not None
    return held[1] is not None and not files.has_log(snapshot.work_path)


def _keep(snapshot: Pinned, folder: Path, update: str, release: str) -> Path:
    """A copy, once per update, however often the restore is begun."""
    wanted = ("replaced", update, snapshot.name)
    for kept in backups.all(folder) if update else []:
        facts = kept.facts
        if kept.is_good and facts and (facts.kind, facts.update, facts.database) == wanted:
            return kept.file
    return backups.make(
        folder,
        snapshot.database_path,
        database=snapshot.name,
        update=update,
        release=release,
        kind="replaced",
    ).file
