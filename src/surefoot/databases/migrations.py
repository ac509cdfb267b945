"""Finding out what a release wants to do to the database, and doing it.

    migration = detect(code, config.database["main"])     None: nothing to do
    downgrade(code, settings, at, to)                     the way back, by the newer release's code
    downgrade_by(steps, code)                             the same, once more
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

from surefoot.databases.passwords import hidden
from surefoot.databases.processes import KILLED_WITHIN_S, in_session
from surefoot.databases.revisions import (
    FLASK_FOLDER,
    INI,
    heads,
    ini_of,
    is_of_flask,
    reached,
    revisions,
    url_in_alembic_ini,
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
    "url_in_alembic_ini",
]

DEFAULT = "main"
"""A database that has no name of its own in the configuration; Django's `default`."""
OUTPUT_LIMIT_BYTES = 64 * 1024

_DECISIVE = re.compile(r"^\s*(?:[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*|FAILED: .*)$")


_DJANGO_COMMAND = re.compile(r"python[\d.]* manage\.py migrate( --?[\w=.-]+)*")


@dataclass(frozen=True)
class Migration:
    """What is run, and for whom."""

    kind: Literal["alembic", "django", "command"]
    command: str
    """For sh."""
    code: Path
    to: tuple[str, ...] | None = None
    """The revisions that a downgrade ends at; None for an upgrade, which ends at the heads."""
    steps: tuple[str, ...] = ()
    """Of a downgrade, by which it can be made again."""


def detect(code: Path, database: Settings, name: str = DEFAULT) -> Migration | None:
    """How the release in `code` migrates this database, which the configuration calls `name`; None
    where it does not."""
    if database.migrate == "none":
        return None
    if database.migrate != "auto":
        kind: Literal["django", "command"] = "command"
        if _DJANGO_COMMAND.fullmatch(database.migrate):
            kind = "django"
        return Migration(kind, database.migrate, code)
    if ini_of(code) is None:
        return _detect_django(code, name)
    try:
        target = "heads" if len(heads(code)) > 1 else "head"
    except DatabaseError:  # Alembic itself has to say what is there
        target = "heads"
    return Migration("alembic", f"{_alembic(code)} upgrade {target}", code)


def _detect_django(code: Path, name: str) -> Migration | None:
    script = code / "manage.py"
    if not script.is_file() or b"DJANGO_SETTINGS_MODULE" not in script.read_bytes():
        return None
    alias = "" if name in {DEFAULT, "default"} else f" --database={name}"
    return Migration("django", f"python manage.py migrate --noinput{alias}", code)


def _alembic(code: Path) -> str:
    """What runs Alembic on the scripts of the release."""
    if is_of_flask(code):
        return "flask db"
    ini = ini_of(code)
    elsewhere = ini is not None and ini.parent != code
    return f"alembic -c {FLASK_FOLDER}/{INI}" if elsewhere else "alembic"


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
                next_step="Set `migrate` of each in surefoot.toml: to its own command, such as "
                f'"alembic -n {name} upgrade head", or to "none" for those that it does not '
                "migrate.",
            )


def downgrade(code: Path, settings: Settings, at: list[str], to: list[str]) -> Migration:
    """How the release in `code` takes a database back from the revisions `at` to those in `to`.

    Raises DatabaseError where it has no way.
    """
    found = detect(code, settings)
    if found is None or found.kind != "alembic":
        raise DatabaseError("There is no downgrade but Alembic's.")
    known = revisions(code)
    if strange := sorted({*at, *to} - set(known)):
        raise DatabaseError(f"The release in use does not know the revision {strange[0]}.")
    if missing := sorted(set(to) - reached(known, at)):
        raise DatabaseError(f"The database has never been at the revision {missing[0]}.")
    return downgrade_by(ways_back(known, at, to), code, to)


def downgrade_by(steps: list[str], code: Path, to: list[str] | None = None) -> Migration:
    """The downgrade whose steps, and perhaps whose end, are known."""
    command = " && ".join(f"{_alembic(code)} downgrade {step}" for step in steps)
    end = None if to is None else tuple(sorted(to))
    return Migration("alembic", command, code, end, tuple(steps))


def pending(migration: Migration | None, database: Database) -> bool | None:
    """Whether the migration would do something; None where only running it can tell."""
    if migration is None:
        return False
    if migration.kind != "alembic":
        return None
    if migration.steps and migration.to is None:
        return True
    if migration.to is not None:
        return sorted(migration.to) != database.revisions()
    try:
        known = revisions(migration.code)
        tips = heads(migration.code)
    except DatabaseError:
        return None
    return not set(tips) <= reached(known, database.revisions())


def check_reachable(migration: Migration | None, database: Database, release: str) -> None:
    """Raises DatabaseError where the database is at a revision that the release has never heard of:
    it comes from a newer or another line of releases."""
    if migration is None or migration.kind != "alembic":
        return
    try:
        known = revisions(migration.code)
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
) -> str:
    """Runs the migration in a session of its own and returns what it has printed.

    `environment` is all of its environment; programs are looked up on its PATH. Nothing of the
    session is left when this returns, whatever the outcome.

    Raises MigrationError, with `output`, where it does not end with 0 in time.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            _arguments(migration, environment),
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
    return Migration("alembic", f"{_alembic(migration.code)} current", migration.code)


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
