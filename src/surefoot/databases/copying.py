"""The snapshot by a copy: works for every database, costs the time that its bytes take.

Where there is no database yet, the snapshot is that fact.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.databases import files, locks, replacing, sqlite
from surefoot.databases.processes import end_marked
from surefoot.databases.records import Absent, Copied
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path


def take(name: str, database: Path, folder: Path, *, reason: str = "") -> Copied | Absent:
    """Copies the database, everything that is committed in it included."""
    durable.discard(folder / f"{name}.restored")
    if not database.exists():
        return Absent(name=name, database=str(database), folder=str(folder))
    copy = folder / f"{name}.db"
    with sqlite.explained(database, "could not be copied", "It was not changed."):
        files.settle(database)
        with locks.alone(database) as is_alone:
            if not is_alone or files.has_log(database):
                raise sqlite.in_use(database)
            durable.sync_file(database)
            method = files.duplicate(database, copy)
            stamp = files.lasting_stamp(database)
        return Copied(
            name=name,
            database=str(database),
            folder=str(folder),
            reason=reason,
            size_bytes=copy.stat().st_size,
            schema_digest=sqlite.schema_of(copy, own=True),
            stamp=stamp,
            method=method,
        )


def prepare(snapshot: Copied | Absent) -> None:
    """Back to `take`, from whatever a migration has left."""
    end_marked(snapshot.folder)
    database = snapshot.database_path
    if isinstance(snapshot, Absent):
        files.remove_database(database)
        return
    if _is_untouched(snapshot):
        return
    _check(snapshot)
    files.wait_until_free(database)
    staged = database.with_name(f".{database.name}.snapshot")
    files.duplicate(snapshot.copy_path, staged)
    files.clear_for_another(database, None)
    files.put(staged, database)
    durable.remove(staged)


def adopt(snapshot: Copied | Absent) -> None:
    """Makes sure that what the migration has written is on the disk."""
    end_marked(snapshot.folder)
    database = snapshot.database_path
    if not database.exists():
        return
    files.wait_until_free(database)
    with (
        sqlite.explained(database, "cannot be read after its migration"),
        closing(sqlite.connect(database)) as connection,
    ):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    for file in (database, *sqlite.companions(database)[:2]):
        if file.exists():
            durable.sync_file(file)
    durable.sync_folder(database.parent)


def was_written(snapshot: Copied | Absent) -> bool:
    """Whether it is not what it was at `take`."""
    if isinstance(snapshot, Absent):
        return snapshot.database_path.exists()
    return not _is_untouched(snapshot)


def restore(
    snapshot: Copied | Absent, keep_replaced: Path | None, *, update: str, release: str
) -> Path | None:
    """The database as it was at `take`; what it replaces is kept."""
    end_marked(snapshot.folder)
    if snapshot.restored_path.exists():
        return None
    database = snapshot.database_path

    def keep(replaced: Path) -> Path | None:
        if keep_replaced is None or (
            isinstance(snapshot, Copied) and files.same_content(replaced, snapshot.copy_path)
        ):
            return None
        return replacing.keep_replaced(
            keep_replaced, replaced, database=snapshot.name, update=update, release=release
        )

    kept = None
    if isinstance(snapshot, Absent):
        kept = files.clear_for_another(database, keep) if database.exists() else None
        files.remove_database(database)
    elif _is_untouched(snapshot) or files.is_same(snapshot.copy_path, database):
        durable.sync_folder(database.parent)  # what is seen may not have lasted yet
    else:
        _check(snapshot)
        kept = files.clear_for_another(database, keep)
        files.put(snapshot.copy_path, database)
    durable.make_folder(snapshot.folder_path)
    durable.write(snapshot.restored_path, b"")
    return kept


def release(snapshot: Copied | Absent) -> None:
    """Removes the copy; the database keeps its content."""
    if snapshot.folder_path.is_dir():
        if isinstance(snapshot, Copied):
            durable.discard(snapshot.copy_path)
        durable.discard(snapshot.restored_path)


def _is_untouched(snapshot: Copied) -> bool:
    database = snapshot.database_path
    return (
        database.exists()
        and files.stamp(database) == snapshot.stamp
        and not files.has_log(database)
    )


def _check(snapshot: Copied) -> None:
    """Raises DatabaseError where the copy is not what was made."""
    copy = snapshot.copy_path
    wrong = ""
    if not copy.exists():
        wrong = "is missing"
    elif not files.is_same(copy, snapshot.database_path):
        if copy.stat().st_size != snapshot.size_bytes:
            wrong = "does not have its size any more"
        else:
            try:
                if sqlite.schema_of(copy, own=True) != snapshot.schema_digest:
                    wrong = "does not have its content any more"
            except DatabaseError as error:
                wrong = f"cannot be read ({error.message})"
    if wrong:
        raise DatabaseError(
            f"The snapshot {copy} {wrong}, so the database {snapshot.database} cannot be put back; "
            "it was left as it is.",
            next_step="Put a backup back: `surefoot restore BACKUP` (`surefoot backups`).",
        )
