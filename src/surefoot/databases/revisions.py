"""What a release's Alembic scripts say, read from their syntax trees: nothing of them is run."""

from __future__ import annotations

import ast
import configparser
import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

INI = "alembic.ini"
FLASK_FOLDER = "migrations"
"""Where Flask-Migrate keeps its alembic.ini, beside its scripts."""

SECTION = "alembic"
"""Of alembic.ini, which Alembic reads if it is not told of another one (`alembic -n NAME`)."""

_SEPARATORS = {"os": os.pathsep, "space": None, "newline": "\n", ":": ":", ";": ";"}


@dataclass(frozen=True)
class Revision:
    """One script."""

    id: str
    before: tuple[str, ...]
    """down_revision: several where branches were merged, none for a root."""
    depends_on: tuple[str, ...]
    file: Path


def ini_of(code: Path) -> Path | None:
    """The alembic.ini of the release: at its root, or in the folder of its scripts."""
    found = (code / INI, code / FLASK_FOLDER / INI)
    return next((path for path in found if path.is_file()), None)


def is_of_flask(code: Path) -> bool:
    """Whether the scripts are Flask-Migrate's, which only `flask db` can run."""
    ini = ini_of(code)
    if ini is None or ini.parent == code:
        return False
    env = ini.with_name("env.py")
    return env.is_file() and b"current_app" in env.read_bytes()


def has_section(code: Path, name: str) -> bool:
    """Whether alembic.ini has a section of that name that says where scripts are: an environment of
    its own."""
    return not is_of_flask(code) and "script_location" in _settings(code, name)


def revisions(code: Path, section: str = SECTION) -> dict[str, Revision]:
    """Every revision of the release, by its id.

    Raises DatabaseError where they cannot be known without running the scripts.
    """
    found: dict[str, Revision] = {}
    for file in _scripts(code, section):
        revision = _read(file)
        if revision is None:
            continue
        if revision.id in found:
            raise DatabaseError(
                f"Two migrations of the release are called {revision.id}: "
                f"{found[revision.id].file.name} and {file.name}."
            )
        found[revision.id] = revision
    return found


def heads(code: Path, section: str = SECTION) -> list[str]:
    """The revisions that no other one comes after, sorted."""
    known = revisions(code, section)
    followed = {before for revision in known.values() for before in revision.before}
    return sorted(set(known) - followed)


def reached(known: dict[str, Revision], from_: Iterable[str]) -> set[str]:
    """The revisions and all that lie before them or that they depend on."""
    seen: set[str] = set()
    left = list(from_)
    while left:
        current = left.pop()
        if current not in seen and current in known:
            seen.add(current)
            left.extend((*known[current].before, *known[current].depends_on))
    return seen


def ways_back(known: dict[str, Revision], at: Iterable[str], to: Iterable[str]) -> list[str]:
    """The targets, one after the other, by which `alembic downgrade` gets from `at` to `to`.

    Each is BRANCH@REVISION: only what leads to that branch is taken back.
    """
    kept = reached(known, to)
    left = reached(known, at) - kept
    targets = []
    for child in sorted(left):
        for before in known[child].before or ("base",):
            if child in left and (before == "base" or before in kept):
                targets.append(f"{child}@{before}")
                left -= _after(known, child)
    return targets


def _after(known: dict[str, Revision], first: str) -> set[str]:
    """The revision and all that come after it or depend on it."""
    return {name for name in known if first in reached(known, [name])}


def _settings(code: Path, name: str) -> dict[str, str]:
    ini = ini_of(code) or code / INI
    here = str(ini.parent)
    parser = configparser.ConfigParser({"here": here}, interpolation=None)
    try:
        parser.read(ini, encoding="utf-8")
        section = dict(parser[name]) if parser.has_section(name) else {}
    except (configparser.Error, UnicodeDecodeError) as error:
        raise DatabaseError(f"{ini} cannot be read: {error}.") from None
    if ini.parent != code:  # Flask-Migrate says at run time where its scripts are
        section.setdefault("script_location", here)
    # The only interpolation of Alembic's own; `%%` is a percent sign.
    return {k: v.replace("%(here)s", here).replace("%%", "%") for k, v in section.items()}


def _scripts(code: Path, section: str) -> list[Path]:
    settings = _settings(code, section)
    home = code / settings.get("script_location", "alembic").strip()
    if ":" in home.name:
        raise DatabaseError(f"{INI} names a package, {home.name}, as the place of its scripts.")
    locations = [code / part for part in _version_locations(settings)] or [home / "versions"]
    recursive = settings.get("recursive_version_locations", "").strip().lower() == "true"
    pattern = "**/*.py" if recursive else "*.py"
    return sorted(
        f for folder in locations for f in folder.glob(pattern) if f.name != "__init__.py"
    )


def _version_locations(settings: dict[str, str]) -> list[str]:
    text = settings.get("version_locations", "").strip()
    named = settings.get("path_separator") or settings.get("version_path_separator")
    if named:
        parts = text.split(_SEPARATORS.get(named.strip(), os.pathsep))
    else:
        parts = re.split(r"[,\s]+", text)
    return [part.strip() for part in parts if part.strip()]


def _read(file: Path) -> Revision | None:
    """None for a file that is no migration: it sets no `revision`."""
    status = file.stat()
    return _parsed(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8192)
def _parsed(file: Path, modified_ns: int, size_bytes: int) -> Revision | None:  # noqa: ARG001
    """Once for each file as it is: an app may have hundreds, and they are asked for in the window,
    while nobody is served."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        raise DatabaseError(f"The migration {file.name} is not Python: {error}.") from None
    values: dict[str, object] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            names, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            names, value = [statement.target], statement.value
        else:
            continue
        for name in names:
            if isinstance(name, ast.Name):
                values[name.id] = _literal(value)
    if values.get("revision") is None:
        if any(isinstance(n, ast.Name) and n.id == "revision" for n in ast.walk(tree)):
            raise DatabaseError(f"The migration {file.name} sets its revision in an unusual way.")
        return None
    before, depends_on = _ids(values.get("down_revision")), _ids(values.get("depends_on"))
    if not isinstance(values["revision"], str) or before is None or depends_on is None:
        raise DatabaseError(f"The migration {file.name} computes its revision.")
    return Revision(values["revision"], before, depends_on, file)


def _literal(value: ast.expr) -> object:
    try:
        return ast.literal_eval(value)
    except (ValueError, TypeError):
        return ...


def _ids(value: object) -> tuple[str, ...] | None:
    """None where it is not a revision, several or none."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, tuple | list | set) and all(isinstance(v, str) for v in value):
        return tuple(value)
    return None
