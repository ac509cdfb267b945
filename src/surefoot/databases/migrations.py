"""Finding out what a release wants to do to the database, and doing it.

    migration = detect(code, config.database["main"])     None: nothing to do
    downgrade(migration, database, to, applied)           the way back, by the newer release's code
    downgrade_by(steps, migration)                        the same, once more
    pending(migration, database)                          True, False, or None: cannot be known
    check_distinct(code, config.database)                 one alembic.ini, one database
    check_reachable(migration, database, release)         refuses a database from the future
    run(migration, environment=..., cwd=..., timeout_s=...)

Only `run` runs anything of the release.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Literal

from surefoot.databases import django
from surefoot.databases.passwords import hidden
from surefoot.databases.processes import KILLED_WITHIN_S, in_session
from surefoot.databases.revisions import (
    FLASK_FOLDER,
    INI,
    SECTION,
    has_section,
    heads,
    ini_of,
    is_of_flask,
    reached,
    revisions,
    ways_back,
)
from surefoot.errors import ConfigurationError, DatabaseError, MigrationError

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Database as Settings
    from surefoot.databases.database import Database

__all__ = [
    "Migration",
    "check_distinct",
    "check_of",
    "check_reachable",
    "detect",
    "downgrade",
    "downgrade_by",
    "harmless",
    "heads",
    "pending",
    "revisions",
    "run",
]

DEFAULT = "main"
"""A database that has no name of its own in the configuration."""
OUTPUT_LIMIT_BYTES = 64 * 1024

_DECISIVE = re.compile(r"^\s*(?:[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*|FAILED: .*)$")


@dataclass(frozen=True)
class Migration:
    """What is run, and for whom."""

    kind: Literal["alembic", "django", "command"]
    command: str
    """For sh."""
    code: Path
    to: tuple[str, ...] | None = None
    """Where a downgrade ends: Alembic's revisions, or the last that is applied of each app of
    Django's; None for an upgrade, which ends at the heads."""
    steps: tuple[str, ...] = ()
    """Of a downgrade, by which it can be made again."""
    section: str = SECTION
    """Of alembic.ini."""


def detect(code: Path, database: Settings, name: str = DEFAULT) -> Migration | None:
    """How the release in `code` migrates this database, which the configuration calls `name`; None
    where it does not."""
    if database.migrate == "none":
        return None
    if database.migrate != "auto":
        kind: Literal["django", "command"] = "command"
        if django.is_command(database.migrate):
            kind = "django"
        return Migration(kind, database.migrate, code)
    if ini_of(code) is None:
        command = django.command_of(code, name)
        return Migration("django", command, code) if command else None
    section, target = SECTION, "heads"
    with suppress(DatabaseError):  # Alembic itself has to say what is wrong there
        section = name if has_section(code, name) else SECTION
        target = "heads" if len(heads(code, section)) > 1 else "head"
    command = f"{_alembic(code, section)} upgrade {target}"
    return Migration("alembic", command, code, section=section)


def _alembic(code: Path, section: str) -> str:
    """What runs Alembic on the scripts of the release."""
    if is_of_flask(code):
        return "flask db"
    ini = ini_of(code)
    elsewhere = f" -c {FLASK_FOLDER}/{INI}" if ini is not None and ini.parent != code else ""
    return f"alembic{elsewhere}{'' if section == SECTION else f' -n {section}'}"


def check_distinct(code: Path, databases: dict[str, Settings]) -> None:
    """Raises ConfigurationError where one tool would migrate several databases, each as if it were
    the only one."""
    found = {
        name: migration.command
        for name, settings in databases.items()
        if (migration := detect(code, settings, name)) and migration.kind == "alembic"
    }
    for name, command in found.items():
        if others := [other for other in found if other != name and found[other] == command]:
            raise ConfigurationError(
                f"The databases {' and '.join([name, *others])} would each be migrated by "
                f"`{command}`, which knows only one. Nothing was changed.",
                next_step=f"Give each a section of its own in alembic.ini ([{name}], with its "
                "`script_location`), or set `migrate` in surefoot.toml: to its own command, or to "
                '"none" for those that another one\'s command migrates, or nothing does.',
            )


def downgrade(
    found: Migration | None, database: Database, to: list[str] | None, applied: list[str]
) -> Migration:
    """How the release that migrates by `found` takes the database back to where an older one works:
    to the revisions `to` (Alembic), or to what was `applied` last of each app (Django).

    Raises DatabaseError where it has no way.
    """
    if found is None or found.kind == "command":
        raise DatabaseError("There is no downgrade but Alembic's and Django's.")
    if found.kind == "django":
        if not applied:
            raise DatabaseError("It is not known which migrations the release works with.")
        return downgrade_by(django.ways_back(database.applied(), applied), found, applied)
    if to is None:
        raise DatabaseError("The release does not say at which revision it works.")
    known, at = revisions(found.code, found.section), database.revisions()
    if strange := sorted({*at, *to} - set(known)):
        raise DatabaseError(f"The release in use does not know the revision {strange[0]}.")
    if missing := sorted(set(to) - reached(known, at)):
        raise DatabaseError(f"The database has never been at the revision {missing[0]}.")
    return downgrade_by(ways_back(known, at, to), found, to)


def downgrade_by(steps: list[str], found: Migration, to: list[str] | None = None) -> Migration:
    """The downgrade whose steps, and perhaps whose end, are known."""
    tool = found.command
    if found.kind == "alembic":
        tool = f"{_alembic(found.code, found.section)} downgrade"
    command = " && ".join(f"{tool} {step}" for step in steps)
    end = None if to is None else tuple(sorted(to))
    return Migration(found.kind, command, found.code, end, tuple(steps), found.section)


def pending(migration: Migration | None, database: Database) -> bool | None:
    """Whether the migration would do something; None where only running it can tell."""
    if migration is None:
        return False
    if migration.to is not None:
        is_django = migration.kind == "django"
        return sorted(migration.to) != (database.applied() if is_django else database.revisions())
    if migration.steps:
        return True
    if migration.kind != "alembic":
        return None
    try:
        known = revisions(migration.code, migration.section)
        tips = heads(migration.code, migration.section)
    except DatabaseError:
        return None
    return not set(tips) <= reached(known, database.revisions())


def check_reachable(migration: Migration | None, database: Database, release: str) -> None:
    """Raises DatabaseError where the database is at a revision that the release has never heard of:
    it comes from a newer or another line of releases."""
    if migration is None or migration.kind != "alembic":
        return
    try:
        known = revisions(migration.code, migration.section)
    except DatabaseError:
        return  # cannot be known: Alembic will refuse it in the rehearsal
    unknown = [r for r in database.revisions() if r not in known]
    if unknown:
        raise DatabaseError(
            f"The database is at {', '.join(unknown)}, which release {release} does not know.",
            next_step="Update to a release that knows it, or put a backup back that fits.",
        )


def run(
    migration: Migration,
    *,
    environment: dict[str, str],
    cwd: Path,
    timeout_s: float,
    pass_fds: tuple[int, ...] = (),
    within: tuple[str, ...] = (),
) -> str:
    """Runs the migration in a session of its own and returns what it has printed.

    `environment` is all of its environment; programs are looked up on its PATH. `within`: words
    before the command, that run it. Nothing of the session is left when this returns, whatever the
    outcome.

    Raises MigrationError, with `output`, where it does not end with 0 in time.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*within, *_arguments(migration, environment)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_session(process)
        text = hidden(_end_of(output), environment)
    if code == 0:
        return text
    how = f"took longer than {timeout_s:g} s and was ended" if code is None else _ended(code)
    last = _decisive_line(text)
    command = hidden(migration.command, environment)
    raise MigrationError(
        f"The migration `{command}` {how}{f': {last}' if last else ''}.", output=text
    )


def harmless(migration: Migration) -> Migration:
    """A question to Alembic that changes nothing, but opens the database."""
    command = f"{_alembic(migration.code, migration.section)} current"
    return Migration("alembic", command, migration.code, section=migration.section)


def check_of(migration: Migration) -> Migration:
    """A question to Django that changes nothing, and ends with 0 if nothing is to be done."""
    return Migration("command", f"{migration.command} --check", migration.code)


def _arguments(migration: Migration, environment: dict[str, str]) -> list[str]:
    command, path = migration.command, environment.get("PATH")
    for tool in ("alembic", "flask"):
        if migration.kind == "alembic" and not shutil.which(tool, path=path):
            command = re.sub(rf"(^|&& ){tool} ", rf"\1python -m {tool} ", command)
    return ["/bin/sh", "-c", command]


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of it: nothing may write to the database behind our back."""
    deadline = monotonic() + KILLED_WITHIN_S
    while True:
        if process.poll() is None:
            process.kill()
            process.wait()
        left = in_session(process.pid)
        if not left:
            return
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if monotonic() > deadline:
            raise MigrationError(f"The processes {left} of the migration cannot be ended.")
        sleep(0.01)


def _end_of(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_LIMIT_BYTES))
    return output.read().decode(errors="replace")


def _ended(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"failed with exit code {code}"


def _decisive_line(text: str) -> str:
    """The line that says what went wrong: the last that names an error, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _DECISIVE.match(line)]
    return (errors or lines or [""])[-1].rstrip(".")[:300]
