"""What is known of Django's migrations without running Django.

A database notes each migration that was applied. `APP.NAME`, the last of each app, stands for all
of them: within an app one follows another.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NOTES = "django_migrations"
DEFAULT = frozenset({"main", "default"})
"""What a database is called here that Django calls `default`."""

_COMMAND = re.compile(r"python[\d.]* manage\.py migrate( --?[\w=.-]+)*")


def is_command(command: str) -> bool:
    """Whether a command is nothing but Django's `migrate`, with options."""
    return _COMMAND.fullmatch(command) is not None


def command_of(code: Path, name: str) -> str | None:
    """What migrates the database `name` of the release in `code`; None where that is no Django."""
    script = code / "manage.py"
    if not script.is_file() or b"DJANGO_SETTINGS_MODULE" not in script.read_bytes():
        return None
    alias = "" if name in DEFAULT else f" --database={name}"
    return f"python manage.py migrate --noinput{alias}"


def last_of_each_app(applied: Iterable[tuple[object, object]]) -> list[str]:
    """Of all that were applied, in that order; sorted by app."""
    return sorted(f"{app}.{name}" for app, name in {str(a): str(n) for a, n in applied}.items())


def ways_back(at: Iterable[str], to: Iterable[str]) -> list[str]:
    """The targets, one after the other, by which `migrate` takes back what is newer than `to`."""
    now, then = (dict(each.split(".", 1) for each in noted) for noted in (at, to))
    return [
        shlex.join([app, then.get(app, "zero")])
        for app, last in now.items()
        if then.get(app) != last
    ]
