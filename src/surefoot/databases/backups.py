"""The backups that are kept: whole databases in data/backups/auto_update/, by time and release.

A backup is two files, `<time>_<release>_<database>.db`, a SQLite database as it is (`.dump`: one of
PostgreSQL, as pg_dump writes it), and beside it the same name with `.json`, what is known of it. By
hand: stop the app, remove the database's `-wal`, `-shm` and `-journal`, copy the `.db` over the
database; or `pg_restore` the `.dump` into an empty one.

    make(folder, source, database="main", update=.., release=..)   online, while the app serves
    all(folder)  get(folder, name)  verify(kept)                   a damaged one is listed as such

How long they stay is `retention`'s, how one is put back `replacing`'s. Nothing here overwrites a
backup: a name that is taken gets a number behind it.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

import msgspec

from surefoot import durable, stored
from surefoot.databases import files, sqlite
from surefoot.databases.postgresql import dumps
from surefoot.errors import DamagedError, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable
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

    @property
    def age(self) -> tuple[float, str]:
        """To sort by: when it was made, by the description, else by the name."""
        made_at = datetime.fromtimestamp(0, UTC)
        if self.facts is not None:
            made_at = self.facts.made_at
        else:
            with suppress(ValueError):
                made_at = datetime.strptime(f"{self.name[:15]}+0000", "%Y%m%dT%H%M%S%z")
        return made_at.timestamp(), self.name


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
    file = free_file(folder, now, release, database, suffix)
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
    describe(file, facts)
    return Kept(file.stem, file, facts)


def all(folder: Path) -> list[Kept]:  # noqa: A001 - read as backups.all
    """Every backup in the folder, the newest first; a damaged one says what is wrong with it."""
    found = (f for f in folder.glob("*") if f.suffix in {*SUFFIXES, ".json"})
    names = {f.stem for f in found if f.name[0] != "."}
    return sorted((_look(folder, name) for name in names), key=attrgetter("age"), reverse=True)


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


def _look(folder: Path, name: str) -> Kept:
    there = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    file = next((file for file in there if file.exists()), folder / f"{name}.db")
    try:
        facts = stored.load(description(file), Facts)
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


def free_file(
    folder: Path, now: datetime, release: str, database: str, suffix: str = ".db"
) -> Path:
    """Where a backup goes whose name nobody has yet."""
    safe = re.sub(r"[^A-Za-z0-9.+-]+", "-", release).strip(".-")[:60] or "unknown"
    name = f"{now:%Y%m%dT%H%M%SZ}_{safe}_{database}"
    number = 1
    while any(folder.glob(f"{name if number == 1 else f'{name}-{number}'}.*")):
        number += 1
    return folder / f"{name if number == 1 else f'{name}-{number}'}{suffix}"


def describe(file: Path, facts: Facts) -> None:
    """Makes a backup of a file, durably: without its description it is none."""
    durable.write(description(file), msgspec.json.format(msgspec.json.encode(facts)))


def description(file: Path) -> Path:
    """Where it is said what a backup is."""
    return file.with_suffix(".json")


def _sha256(file: Path) -> str:
    with file.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()
