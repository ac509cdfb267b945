"""What a folder of code says about the app in it. Reads text; runs nothing of it."""

from __future__ import annotations

import configparser
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Framework = Literal["fastapi", "flask", "django", "other"]

DEFAULT_KEPT = ("data", "logs", "temp", "sessions", ".env")
_LOCKS = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml")
_SKIPPED = {"tests", "test", "docs", "examples", "node_modules", "venv", "env", "build", "dist"}
_MAX_FILES = 2000
_MAX_BYTES = 500_000
_MAX_DEPTH = 4
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^\s\"'?}]+)")
_DJANGO_SQLITE = re.compile(r"[\"'](\S+\.sqlite3?)[\"']")
_HEALTH = re.compile(r"[\"'](/(?:api/)?(?:health|healthz|ping|status/health|readyz?)/?)[\"']")
_VARIABLE = re.compile(r"[\"']?\b([A-Z][A-Z0-9_]*(?:DATABASE|DB)_?(?:URL|URI)|DATABASE_URL)\b")


@dataclass
class App:
    """What was found; what was not found is empty."""

    framework: Framework = "other"
    server: str = ""
    """uvicorn or gunicorn, where it is among the dependencies; `surefoot` for its own."""
    target: str = ""
    """`module:variable` of the application object; the project's module for Django."""
    dependencies: str = ""
    python: str = ""
    """The version that it asks for, and the file that says so."""
    alembic: str = ""
    database: str = ""
    """The path of a SQLite file, as the app names it."""
    scheme: str = "sqlite:///"
    """What it writes before it: there may be a driver in it."""
    variable: str = ""
    health: str = ""
    kept: list[str] = field(default_factory=list)
    """What belongs to the user beside the usual folders."""
    notes: list[str] = field(default_factory=list)


def look(folder: Path) -> App:
    """Looks through a folder of code."""
    sources = dict(_sources(folder))
    wanted = _dependency_names(folder)
    found = App(
        dependencies=next((name for name in _LOCKS if (folder / name).is_file()), ""),
        python=_python(folder),
    )
    _application(found, sources, wanted, folder)
    _database(found, sources, folder)
    found.health = next((m[1] for text in sources.values() for m in _HEALTH.finditer(text)), "")
    return found


def has_code(folder: Path) -> bool:
    """Whether there is anything to look through."""
    return any((folder / name).is_file() for name in (*_LOCKS, "manage.py", "alembic.ini")) or any(
        folder.glob("*.py")
    )


def _sources(folder: Path) -> Iterator[tuple[str, str]]:
    """The app's Python files by path, those nearest to the top first."""
    pending = [(folder, 0)]
    seen = 0
    while pending:
        here, depth = pending.pop(0)
        for path in sorted(here.iterdir()):
            if path.name.startswith(".") or path.is_symlink():
                continue
            if path.is_dir() and depth < _MAX_DEPTH and path.name not in _SKIPPED:
                pending.append((path, depth + 1))
            elif path.suffix == ".py" and path.is_file() and path.stat().st_size < _MAX_BYTES:
                seen += 1
                if seen > _MAX_FILES:
                    return
                yield (
                    str(path.relative_to(folder)),
                    path.read_text(encoding="utf-8", errors="replace"),
                )


def _dependency_names(folder: Path) -> set[str]:
    """Names of packages that the app asks for, normalised."""
    lines: list[str] = []
    for file in (*folder.glob("requirements*.txt"), *folder.glob("requirements*.in")):
        lines += file.read_text(encoding="utf-8", errors="replace").splitlines()
    project = _project(folder)
    if isinstance(declared := project.get("dependencies", []), list):
        lines += [str(line) for line in declared]
    names = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line.strip()) for line in lines)
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}


def _project(folder: Path) -> dict[str, object]:
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text).get("project", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    return project if isinstance(project, dict) else {}


def _python(folder: Path) -> str:
    pinned = folder / ".python-version"
    if pinned.is_file():
        return f"{pinned.read_text(encoding='utf-8', errors='replace').strip()} (.python-version)"
    required = _project(folder).get("requires-python")
    return f"{required} (pyproject.toml)" if required else ""


def _application(found: App, sources: dict[str, str], wanted: set[str], folder: Path) -> None:
    everything = "\n".join(sources.values())
    has_server = next((name for name in ("surefoot", "gunicorn", "uvicorn") if name in wanted), "")
    if (folder / "manage.py").is_file():
        settings = re.search(r"DJANGO_SETTINGS_MODULE[\"'], *[\"']([\w.]+)", everything)
        found.framework = "django"
        found.target = settings[1].rpartition(".")[0] if settings else "project"
        found.server = has_server if has_server == "gunicorn" else ""
    elif target := _variable(sources, r"FastAPI\("):
        found.framework, found.target = "fastapi", target
        found.server = "surefoot" if has_server == "surefoot" else "uvicorn"
    elif target := _variable(sources, r"Flask\("):
        found.framework, found.target = "flask", target
        found.server = has_server if has_server == "gunicorn" else ""
    elif "fastapi" in wanted or "from fastapi" in everything:
        found.framework, found.target, found.server = "fastapi", "main:app", "uvicorn"
        found.notes.append("Where the FastAPI object is made was not found: check `command`.")
    elif "flask" in wanted or "from flask" in everything:
        found.framework, found.target = "flask", "app:app"
        found.notes.append("Where the Flask object is made was not found: check `command`.")
    else:
        main = next((name for name in ("main.py", "app.py", "bot.py") if name in sources), "")
        found.target = main
        if not main:
            found.notes.append("What starts the app was not found: set `command`.")


def _variable(sources: dict[str, str], made_by: str) -> str:
    """`module:variable` of the first top-level assignment of what is made there."""
    pattern = re.compile(rf"^(\w+)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)?{made_by}", re.MULTILINE)
    for path, text in sources.items():
        if made := pattern.search(text):
            module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            return f"{module.removeprefix('src.')}:{made[1]}"
    return ""


def _database(found: App, sources: dict[str, str], folder: Path) -> None:
    ini = folder / "alembic.ini"
    texts = list(sources.values())
    if ini.is_file():
        found.alembic = "alembic.ini"
        parser = configparser.RawConfigParser()
        try:
            parser.read(ini, encoding="utf-8")
            texts.insert(0, parser.get("alembic", "sqlalchemy.url", fallback=""))
        except (configparser.Error, UnicodeDecodeError):
            found.notes.append("alembic.ini cannot be read.")
    texts += [
        (folder / name).read_text(encoding="utf-8", errors="replace")
        for name in (".env.example", ".env.sample", "env.example")
        if (folder / name).is_file()
    ]
    everything = "\n".join(texts)
    if url := _SQLITE.search(everything):
        found.scheme, found.database = url[1], url[2].removeprefix("./")
    elif found.framework == "django" and (file := _DJANGO_SQLITE.search(everything)):
        found.database = file[1]
    if variable := _VARIABLE.search(everything):
        found.variable = variable[1]
    found.kept = _astray(found)
    if re.search(r"postgres(?:ql)?(?:\+\w+)?://", everything) and not found.database:
        found.notes.append(
            'It seems to use PostgreSQL: name it, [database] url = "postgresql://…".'
        )


def _astray(found: App) -> list[str]:
    """The database's place, where the app would otherwise look for it inside the release."""
    path = Path(found.database)
    if not found.database or found.variable or path.is_absolute():
        return []
    return [] if path.parts[0] in DEFAULT_KEPT else [path.parts[0]]
