"""Putting a database back exactly as it was before the migration.

The verbs, in the order of an update; `Snapshot` is a record for the lock (msgspec, tagged by
`kind`: "copy", "absent", "pin", "clone"):

    record = take("main", database, folder, redirectable=...)    the app is stopped
    prepare(record)                                              before every attempt to migrate
    migrations.run(..., environment=... | migration_environment(record, variable),
                   pass_fds=pass_fds(record), within=within([record]))
    adopt(record)                                                the migration has ended well
    keep(record)                                                 before the app is started on it
    kept = restore(record, backups_folder)                       rollback; any time before release
    release(record)                                              after the commit or the rollback

Rules that hold for every verb and every kind:

- It may be called again after a crash at any instant inside it, in another process, and then ends
  the same. When it returns, what it did survives a power cut.
- It raises DatabaseError (OSError where the disk fails) and then has left the database as a whole:
  as it was, or as the verb promises.
- The app is stopped from `take` to `adopt`, and during `restore`. Who still has the database
  open is waited for for some seconds, then named in the error. A migration that a killed engine has
  left behind is ended first: it is found by `migration_environment`'s mark.
- `folder` is the update's own (it may be shared by the databases of one update), on a disk
  with room for the database; it is made if it is not there. `release` empties it.
- The database of a record is never opened by two verbs at a time in one process.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING

from surefoot import durable, stored
from surefoot.databases import binding, copying, journal_mode, pinnable, pinning, settling, sqlite
from surefoot.databases.processes import MARK, end_marked
from surefoot.databases.records import Absent, Cloned, Copied, Pinned, Snapshot
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import ModuleType

__all__ = [
    "SCHEME",
    "Absent",
    "Cloned",
    "Copied",
    "Pinned",
    "Snapshot",
    "adopt",
    "has_changed",
    "keep",
    "kept_beside",
    "migration_environment",
    "migration_url",
    "only_taken",
    "pass_fds",
    "prepare",
    "release",
    "restore",
    "take",
    "was_written",
    "within",
]


SCHEME = "sqlite:///"
"""Before the path in a URL without a driver."""


def take(
    name: str,
    database: Path,
    folder: Path,
    *,
    redirectable: bool = False,
    replaced: bool = False,
    switchable: bool = False,
) -> Snapshot:
    """Makes it possible to put the database back to what it is now.

    `redirectable`: the migration has been seen to obey `migration_url`; else a pinned database is
    shown to it at its own path, or pinned in place. `replaced`: another file takes its place, so
    that it cannot be pinned. `switchable`: the app does not set the journal mode itself. A database
    that is not there yet gives "absent": putting it back means that it is gone again.
    """
    database = database.resolve()
    durable.make_folder(folder)
    folder = folder.resolve()
    end_marked(str(folder))
    settling.end(database)
    pinning.clear(name, folder)
    with suppress(sqlite3.Error):  # an earlier update may have left it switched
        journal_mode.settle(database)
    if not database.exists():
        return copying.take(name, database, folder)
    if replaced:
        return copying.take(name, database, folder, reason="a backup takes its place")
    if not (reason := pinnable.why_not(database, folder, switchable=switchable)):
        try:
            return pinning.take(name, database, folder, redirectable=redirectable)
        except (DatabaseError, OSError, sqlite3.Error) as error:
            reason = f"pinning it failed: {error}"
            pinning.clear(name, folder)
    return copying.take(name, database, folder, reason=reason)


def only_taken(folder: Path) -> list[Snapshot]:
    """The snapshots in a folder, whole or not, with which nothing was done since: of databases that
    were closed for them, and are to be opened if the update knows nothing of it.

    Raises DamagedError where it cannot be known which they are.
    """
    found = [_record(file) for file in sorted(folder.glob("*.clone"))]
    return [snapshot for snapshot in found if not snapshot.begun_path.exists()]


def _record(file: Path) -> Cloned:
    try:
        return stored.load(file, Cloned)
    except FileNotFoundError:
        raise stored.damaged(str(file), "it leads to nothing") from None


def migration_url(snapshot: Snapshot, scheme: str = SCHEME) -> str:
    """Where the migration must work, as a SQLAlchemy URL; a file's begins with `scheme`."""
    if isinstance(snapshot, Cloned):
        return str(_cloning().migration_url(snapshot))
    path = snapshot.database_path
    if isinstance(snapshot, Pinned) and not snapshot.in_place and not snapshot.bound:
        path = snapshot.work_path
    return f"{scheme}{path}"


def migration_environment(
    snapshot: Snapshot, variable: str | None, scheme: str = SCHEME
) -> dict[str, str]:
    """What the migration's environment needs on top: the URL, and the mark by which a migration
    that was left behind is found and ended."""
    told = {variable: migration_url(snapshot, scheme)} if variable else {}
    return {**told, MARK: snapshot.folder}


def pass_fds(snapshot: Snapshot) -> tuple[int, ...]:
    """The descriptors that the migration must inherit, so that the guards live as long as it."""
    return pinning.pass_fds(snapshot) if isinstance(snapshot, Pinned) else ()


def within(snapshots: Iterable[Snapshot]) -> tuple[str, ...]:
    """What goes before the migration's command, for it to work on what it cannot be told of."""
    shown = [pair for each in snapshots if isinstance(each, Pinned) for pair in pinning.shown(each)]
    return binding.within(shown) if shown else ()


def prepare(snapshot: Snapshot) -> None:
    """Puts the database back to its state at `take`, for a (repeated) migration.

    Ends what an earlier attempt has left running. Does nothing where nothing has happened.
    """
    if isinstance(snapshot, Cloned):
        _cloning().prepare(snapshot)
    elif isinstance(snapshot, Pinned):
        pinning.prepare(snapshot)
    else:
        copying.prepare(snapshot)


def adopt(snapshot: Snapshot) -> None:
    """Takes over what the migration has made, durably. The snapshot stays until `release`."""
    if isinstance(snapshot, Cloned):
        _cloning().adopt(snapshot)
    elif isinstance(snapshot, Pinned):
        pinning.adopt(snapshot)
    else:
        copying.adopt(snapshot)


def was_written(snapshot: Snapshot) -> bool:
    """Whether somebody has written to it since `prepare`; asked before `adopt`. Of a clone this is
    not known: only its own migration is told of it."""
    if isinstance(snapshot, Cloned):
        return False
    if isinstance(snapshot, Pinned):
        return pinning.was_written(snapshot)
    return copying.was_written(snapshot)


def keep(snapshot: Snapshot) -> None:
    """Sees to it that `restore` stays possible whatever the app does, also after a power cut."""
    if isinstance(snapshot, Pinned):
        pinning.keep(snapshot)


def has_changed(snapshot: Snapshot) -> bool:
    """Whether code that was not asked to migrate has changed the schema since `take`."""
    if isinstance(snapshot, Cloned):
        return bool(_cloning().has_changed(snapshot))
    if isinstance(snapshot, Absent):
        return snapshot.database_path.exists()
    return sqlite.schema_of(snapshot.database_path) != snapshot.schema_digest


def restore(
    snapshot: Snapshot, keep_replaced: Path | None, *, update: str = "", release: str = ""
) -> Path | None:
    """Puts the database back exactly as it was at `take`.

    What is replaced, where it differs, is first kept in the folder `keep_replaced` as a backup
    of kind "replaced" that names `update` and `release`; returns its file. With None it is lost.
    On a server it stays beside the database: `kept_beside` knows as what.
    Once put back, another call changes nothing, so the old release's new rows are safe from it.

    Raises DatabaseError, with nothing touched, where the snapshot is missing or damaged.
    """
    if isinstance(snapshot, Cloned):
        _cloning().restore(snapshot, keep_replaced=keep_replaced is not None)
        return None
    if isinstance(snapshot, Pinned):
        return pinning.restore(snapshot, keep_replaced, update=update, release=release)
    return copying.restore(snapshot, keep_replaced, update=update, release=release)


def kept_beside(snapshot: Snapshot) -> str | None:
    """The database on the server that was replaced when this one was put back."""
    if not isinstance(snapshot, Cloned) or not snapshot.restored_path.exists():
        return None
    return stored.read(snapshot.restored_path).decode(errors="replace") or None


def release(snapshot: Snapshot) -> None:
    """Gives the snapshot up: after the commit, or after the rollback is done."""
    if isinstance(snapshot, Cloned):
        _cloning().release(snapshot)
    elif isinstance(snapshot, Pinned):
        pinning.release(snapshot)
    else:
        copying.release(snapshot)


def _cloning() -> ModuleType:
    """Needs what not everybody has installed; whoever has such a record, has it."""
    from surefoot.databases.postgresql import cloning

    return cloning
