"""A backup in a database's place; and what stands there kept as another.

restore(kept, target, replaced_into)     the app is stopped
"""

from __future__ import annotations

import functools
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from surefoot import durable
from surefoot.databases import backups, files, sqlite
from surefoot.databases.backups import Content, Facts
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.databases.backups import Kept


def restore(
    kept: Kept, target: Path, replaced_into: Path | None, *, update: str = "", release: str = ""
) -> Path | None:
    """Puts a backup in a database's place, durably, after what stands there was kept.

    The app is stopped. Returns the file of what was replaced, which belongs to `release`. Raises
    DatabaseError, with nothing touched, where the backup is damaged or the database is in use.
    """
    backups.verify(kept)
    target = target.resolve()
    staged = _stage(kept, target)
    keep = None
    if replaced_into is not None:
        database = kept.facts.database if kept.facts else target.stem
        keep = functools.partial(
            keep_replaced, replaced_into, database=database, update=update, release=release
        )
    replaced = files.clear_for_another(target, keep)
    files.put(staged, target)
    durable.remove(staged)
    return replaced


def _stage(kept: Kept, target: Path) -> Path:
    """A copy beside the target, with its log brought in."""
    staged = target.with_name(f".{target.name}.backup")
    files.remove_database(staged)
    for log, staged_log in zip(
        sqlite.companions(kept.file)[:2], sqlite.companions(staged)[:2], strict=True
    ):
        if log.exists():
            files.duplicate(log, staged_log)
    files.duplicate(kept.file, staged)
    if files.has_log(staged):
        with sqlite.explained(kept.file, "is a damaged backup"):
            sqlite.settle(staged)
    return staged


def keep_replaced(
    folder: Path, source: Path, *, database: str, update: str = "", release: str = ""
) -> Path:
    """Keeps a database that is about to be replaced, log and all, and returns its file.

    Costs no copy where the folder lies on the same file system. The app is stopped. Called again
    for the same file it finds what was kept before.
    """
    durable.make_folder(folder)
    file = next((f for f in folder.glob("*.db") if files.is_same(f, source)), None)
    if file is None:
        file = backups.free_file(folder, datetime.now(UTC), release or "replaced", database)
        for log, kept_log in zip(
            sqlite.companions(source)[:2], sqlite.companions(file)[:2], strict=True
        ):
            if log.exists():
                files.duplicate(log, kept_log)
        durable.sync_file(source)
        files.put(source, file)
    if not backups.description(file).exists():
        facts = Facts(
            kind="replaced",
            made_at=datetime.now(UTC),
            update=update,
            release=release,
            database=database,
            size_bytes=file.stat().st_size,
        )
        with suppress(DatabaseError):  # it may be kept because it cannot be read
            if not files.has_log(file):
                content = Content.of(file)
                facts = msgspec.structs.replace(
                    facts,
                    schema_digest=content.schema_digest,
                    revisions=content.revisions,
                    applied=content.applied,
                )
        backups.describe(file, facts)
    return file
