"""Checks of the databases and their backups."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from surefoot.cli.doctor.check import Finding, Subject, ok, problem, warning
from surefoot.cli.output import ago, size
from surefoot.config.reading import FILE_NAME
from surefoot.databases import backups as kept_backups
from surefoot.databases import journal_mode, sqlite
from surefoot.databases.database import of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.config import Database as Settings
    from surefoot.databases.postgresql.database import PostgresqlDatabase
    from surefoot.home import Home

_REMOTE = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "fuse.sshfs")


def databases(subject: Subject) -> Iterator[Finding]:
    """Whether each can be read, lies on a local disk, and who has it open."""
    found = subject.settings.database
    if not found:
        yield warning(
            "None is configured: an update neither backs up nor migrates one.",
            'If the app has one, name it: [database] url = "sqlite:///data/app.db".',
        )
    for name, database in found.items():
        if database.is_postgresql:
            yield from _postgresql(name, database, subject)
            continue
        path = database.path(subject.home.root)
        if path.exists():
            yield from _existing(name, path, subject)
        else:
            yield warning(f"{name}: {path} is not there yet.", "The app or its migration makes it.")


def _postgresql(name: str, settings: Settings, subject: Subject) -> Iterator[Finding]:
    """Everything is asked as the app's own role."""
    found = cast("PostgresqlDatabase", of(name, settings, subject.home.root))
    lacks = found.lacks()
    for lack in lacks:
        yield problem(f"{name}: {lack.message}", lack.next_step)
    if not lacks:
        yield ok(f"{name}: {found.in_words()}.")
        if intruders := found.intruders():
            yield warning(
                f"{name}: {', '.join(intruders)} is in it, whose session its role may not end: an "
                "update would be rolled back.",
                "Let it: GRANT pg_signal_backend TO the role. A superuser's session only its owner "
                "can end.",
            )
    file = subject.home.root / FILE_NAME
    if found.address.password is not None and file.stat().st_mode & 0o004:
        yield warning(f"{name}: everybody can read its password in {file}.", f"chmod o-r {file}")


def _existing(name: str, path: Path, subject: Subject) -> Iterator[Finding]:
    try:
        with closing(sqlite.connect(path)) as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        yield problem(
            f"{name}: {path} cannot be read: {error}.", "Look at who owns it, and at its backups."
        )
        return
    if (kind := _file_system(path)) and kind.startswith(_REMOTE):
        yield warning(
            f"{name}: {path} lies on a network file system ({kind}), where SQLite's locks cannot "
            "be relied on.",
            "Move it to a local disk.",
        )
    if journal_mode.note(path).exists():
        yield warning(
            f"{name}: an update has switched it to journal mode {mode}, and the app has kept it "
            "open since, so it could not be switched back.",
            "It works as it is. End `surefoot run` and start it again: that switches it back.",
        )
    holders = _names(sqlite.holders(path))
    if holders and not subject.running:
        yield warning(
            f"{name}: open in {', '.join(holders)}, though the app does not run under Surefoot.",
            "End it before an update: the database cannot be put back while it is in use.",
        )
    else:
        opened = f", open in {', '.join(holders)}" if holders else ""
        yield ok(f"{name}: {size(path.stat().st_size)}, journal mode {mode}{opened}.")


def _names(pids: list[int]) -> list[str]:
    names = []
    for pid in pids:
        try:
            command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        except OSError:  # it has ended meanwhile
            continue
        names.append(f"{command} ({pid})")
    return names


def _file_system(path: Path) -> str:
    """The type of the file system, from the longest mount point above the path."""
    best, kind = "", ""
    where = str(path.resolve())
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        head, _, tail = line.partition(" - ")
        point = head.split()[4].encode().decode("unicode_escape")
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, tail.split()[0]
    return kind


def backups(subject: Subject) -> Iterator[Finding]:
    """Whether there is one to go back to."""
    found = kept_backups.all(subject.home.backups)
    for kept in found:
        if not kept.is_good:
            yield warning(
                f"{kept.name} is damaged: {kept.damage}.", "Look at it, and remove it by hand."
            )
    good = [kept for kept in found if kept.is_good and kept.facts]
    if good and good[0].facts:
        yield ok(f"{len(good)}, the newest {ago(good[0].facts.made_at)}.")
    elif _has_updated(subject.home) and subject.config and subject.config.database:
        yield warning("There is none.", "Every update makes one; look at `surefoot history`.")
    else:
        yield ok("None yet: every update makes one.")


def _has_updated(home: Home) -> bool:
    from surefoot.update.history import History

    return any(event.event == "backed_up" for event in History(home).newest())
