"""The backups that are kept: whole databases in data/backups/auto_update/, by time and release.

A backup is two files, `<time>_<release>_<database>.db`, a SQLite database as it is (`.dump`: one of
PostgreSQL, as pg_dump writes it), and beside it the same name with `.json`, what is known of it. By
hand: stop the app, remove the database's `-wal`, `-shm` and `-journal`, copy the `.db` over the
database; or `pg_restore` the `.dump` into an empty one.

    make(folder, source, database="main", update=.., release=..)   online, while the app serves
    all(folder)  get(folder, name)  verify(kept)                   a damaged one is listed as such
    prune(folder, keep, protected)                                 the rule stands there
    restore(kept, target, replaced_into)                           the app is stopped

Nothing here overwrites a backup: a name that is taken gets a number behind it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from surefoot import durable, stored
from surefoot.databases import files, sqlite
from surefoot.databases.postgresql import dumps
from surefoot.errors import DamagedError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SCHEMA = 1
DUMP = ".dump"
SUFFIXES = (".db", DUMP)

Kind = Literal["before_update", "replaced"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the `.json` says."""

    schema: int = SCHEMA
    kind: Kind = "before_update"
    """`replaced`: what stood where a snapshot or a backup was put back."""
    made_at: stored.Moment
    update: str = ""
    release: str = ""
    database: str
    """Its name in the configuration."""
    size_bytes: int
    sha256: str = ""
    """Empty where there was no time for it: inside the cutover."""
    schema_digest: str = ""
    revisions: list[str] = msgspec.field(default_factory=list)
    """Alembic's, that it is at."""
    applied: list[str] = msgspec.field(default_factory=list)
    """Of Django's migrations, the last of each app."""


@dataclass(frozen=True)
class Content:
    """What is known of a database by whoever has copied it."""

    schema_digest: str
    revisions: list[str]
    applied: list[str]

    @classmethod
    def of(cls, file: Path) -> Content:
        """Of a copy of SQLite's that nobody else has open. Raises DatabaseError."""
        return cls(
            sqlite.schema_of(file, own=True),
            sqlite.revisions_of(file, own=True),
            sqlite.applied_in(file, own=True),
        )


@dataclass(frozen=True)
class Kept:
    """A backup as it was found."""

    name: str
    file: Path
    facts: Facts | None
    damage: str = ""
    """What is wrong with it, as far as can be seen without reading it all; empty when nothing."""

    @property
    def is_good(self) -> bool:
        return not self.damage


def make(
    folder: Path,
    source: Path,
    *,
    database: str,
    update: str = "",
    release: str = "",
    kind: Kind = "before_update",
    progress: sqlite.Progress | None = None,
) -> Kept:
    """Backs up a database that is in use; returns when the backup is durable and verified.

    Raises DatabaseError where that fails; there is no backup then, and none was harmed.
    """

    def write(file: Path) -> Content:
        sqlite.back_up(source, file, progress=progress)
        return Content.of(file)

    return make_by(write, folder, database=database, update=update, release=release, kind=kind)


def make_by(
    write: Callable[[Path], Content],
    folder: Path,
    *,
    database: str,
    update: str,
    release: str,
    kind: Kind = "before_update",
    suffix: str = ".db",
) -> Kept:
    """Keeps as a backup what `write` puts, durably and verified, into the file that it is given."""
    durable.make_folder(folder)
    for left_over in folder.glob(".*.part*"):  # of a backup that was interrupted
        left_over.unlink()
    now = datetime.now(UTC)
    file = _free_file(folder, now, release, database, suffix)
    content = write(file)
    facts = Facts(
        kind=kind,
        made_at=now,
        update=update,
        release=release,
        database=database,
        size_bytes=file.stat().st_size,
        sha256=_sha256(file),
        schema_digest=content.schema_digest,
        revisions=content.revisions,
        applied=content.applied,
    )
    _describe(file, facts)
    return Kept(file.stem, file, facts)


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
        file = _free_file(folder, datetime.now(UTC), release or "replaced", database)
        for log, kept_log in zip(
            sqlite.companions(source)[:2], sqlite.companions(file)[:2], strict=True
        ):
            if log.exists():
                files.duplicate(log, kept_log)
        durable.sync_file(source)
        files.put(source, file)
    if not _json(file).exists():
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
        _describe(file, facts)
    return file


def all(folder: Path) -> list[Kept]:  # noqa: A001 - read as backups.all
    """Every backup in the folder, the newest first; a damaged one says what is wrong with it."""
    found = (f for f in folder.glob("*") if f.suffix in {*SUFFIXES, ".json"})
    names = {f.stem for f in found if f.name[0] != "."}
    return sorted((_look(folder, name) for name in names), key=_age, reverse=True)


def get(folder: Path, name: str) -> Kept:
    """The backup of that name. Raises DatabaseError, naming those there are, if it is not."""
    for kept in all(folder):
        if name in {kept.name, kept.file.name}:
            return kept
    names = ", ".join(kept.name for kept in all(folder)[:10]) or "none at all"
    raise DatabaseError(f"There is no backup {name} in {folder}.", next_step=f"There are: {names}.")


def verify(kept: Kept) -> None:
    """Reads all of it. Raises DatabaseError where it is not what was backed up."""
    if kept.damage:
        raise DatabaseError(f"The backup {kept.name} is damaged: {kept.damage}.")
    if kept.facts is not None and kept.facts.sha256:
        found = _sha256(kept.file)
        if found != kept.facts.sha256:
            raise DatabaseError(
                f"The backup {kept.name} is damaged: its content is not what was written.",
                next_step="Use another one: `surefoot backups` lists them.",
            )
    if kept.file.suffix == DUMP:
        dumps.check(kept.file)
        return
    if files.has_log(kept.file):
        return  # kept as it was found, unreadable perhaps: better than nothing
    with sqlite.explained(kept.file, "is a damaged backup"):
        sqlite.check(kept.file)


def prune(
    folder: Path,
    keep: int,
    protected: set[str],
    *,
    max_age: timedelta | None = None,
    max_bytes: int | None = None,
) -> list[str]:
    """Removes old backups and returns their names.

    Of each database and kind the newest `keep` stay, if they are not older than `max_age`. The
    oldest of all go until the rest has no more than `max_bytes`. The newest of each database and
    kind stays all the same; what is `protected` does; and damaged ones do, for a person to look at;
    they do not count. None is removed before one of the same database that stays was read and
    found whole, so the last good one is never removed.
    """
    groups: dict[tuple[str, str], list[Kept]] = {}
    for kept in all(folder):
        if kept.is_good and kept.facts is not None:
            groups.setdefault((kept.facts.database, kept.facts.kind), []).append(kept)
    surplus = _surplus([*groups.values()], max(keep, 1), protected, max_age, max_bytes)
    removed = []
    for group in groups.values():
        going = [kept for kept in group if kept.name in surplus]
        if going and any(_is_whole(kept) for kept in group if kept.name not in surplus):
            for kept in going:
                _remove(kept)
                removed.append(kept.name)
    return removed


def _surplus(
    groups: list[list[Kept]],
    keep: int,
    protected: set[str],
    max_age: timedelta | None,
    max_bytes: int | None,
) -> set[str]:
    """The names of those that are to go; each group has the newest first."""
    oldest = datetime.now(UTC) - max_age if max_age is not None else None
    surplus, left = set(), []
    for group in groups:
        for number, kept in enumerate(group):
            made_at = kept.facts.made_at if kept.facts else None
            is_old = oldest is not None and made_at is not None and made_at < oldest
            if (number >= keep or (is_old and number)) and kept.name not in protected:
                surplus.add(kept.name)
            else:
                left.append((made_at, kept, number == 0 or kept.name in protected))
    if max_bytes is not None:
        size_bytes = sum(kept.file.stat().st_size for _, kept, _ in left)
        for _, kept, stays in sorted(left, key=lambda each: _age(each[1])):
            if size_bytes > max_bytes and not stays:
                surplus.add(kept.name)
                size_bytes -= kept.file.stat().st_size
    return surplus


def newest_of(folder: Path, releases: Iterable[str]) -> set[str]:
    """The names of the newest sound backup of each database and release: what is needed to go back
    to one of these."""
    wanted, found = set(releases), {}
    for kept in reversed(all(folder)):
        facts = kept.facts
        if kept.is_good and facts and facts.kind == "before_update" and facts.release in wanted:
            found[facts.database, facts.release] = kept.name
    return set(found.values())


def restore(
    kept: Kept, target: Path, replaced_into: Path | None, *, update: str = "", release: str = ""
) -> Path | None:
    """Puts a backup in a database's place, durably, after what stands there was kept.

    The app is stopped. Returns the file of what was replaced, which belongs to `release`. Raises
    DatabaseError, with nothing touched, where the backup is damaged or the database is in use.
    """
    verify(kept)
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


def _age(kept: Kept) -> tuple[float, str]:
    """When it was made: by the description, else by the name."""
    made_at = datetime.fromtimestamp(0, UTC)
    if kept.facts is not None:
        made_at = kept.facts.made_at
    else:
        with suppress(ValueError):
            made_at = datetime.strptime(f"{kept.name[:15]}+0000", "%Y%m%dT%H%M%S%z")
    return made_at.timestamp(), kept.name


def _look(folder: Path, name: str) -> Kept:
    there = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    file = next((file for file in there if file.exists()), folder / f"{name}.db")
    try:
        facts = stored.load(_json(file), Facts)
    except FileNotFoundError:
        return Kept(name, file, None, "its description is missing")
    except DamagedError as error:
        return Kept(name, file, None, f"its description is damaged ({error.message})")
    if facts.schema != SCHEMA:
        return Kept(name, file, None, f"its description is of schema {facts.schema}, not {SCHEMA}")
    try:
        size_bytes = file.stat().st_size
    except OSError as error:
        return Kept(name, file, facts, f"the database is missing ({error.strerror})")
    if size_bytes != facts.size_bytes:
        return Kept(
            name, file, facts, f"it has {size_bytes} bytes where {facts.size_bytes} were written"
        )
    return Kept(name, file, facts)


def _free_file(
    folder: Path, now: datetime, release: str, database: str, suffix: str = ".db"
) -> Path:
    safe = re.sub(r"[^A-Za-z0-9.+-]+", "-", release).strip(".-")[:60] or "unknown"
    name = f"{now:%Y%m%dT%H%M%SZ}_{safe}_{database}"
    number = 1
    while any(folder.glob(f"{name if number == 1 else f'{name}-{number}'}.*")):
        number += 1
    return folder / f"{name if number == 1 else f'{name}-{number}'}{suffix}"


def _describe(file: Path, facts: Facts) -> None:
    durable.write(_json(file), msgspec.json.format(msgspec.json.encode(facts)))


def _json(file: Path) -> Path:
    return file.with_suffix(".json")


def _remove(kept: Kept) -> None:
    """The description goes last: what is half removed is listed as damaged."""
    for file in (kept.file, *sqlite.companions(kept.file), _json(kept.file)):
        file.unlink(missing_ok=True)
    durable.sync_folder(kept.file.parent)


def _sha256(file: Path) -> str:
    with file.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()


def _is_whole(kept: Kept) -> bool:
    with suppress(DatabaseError):
        verify(kept)
        return True
    return False
