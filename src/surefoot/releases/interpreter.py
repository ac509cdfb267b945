"""Which Python a release asks for, and where on this machine it is."""

from __future__ import annotations

import glob
import json
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from surefoot.errors import BuildError
from surefoot.releases import command

_QUESTION = """\
import json, os, platform, sys, sysconfig
place = os.path.realpath(sys.executable)
fitting = [sys.implementation.cache_tag, sysconfig.get_platform(), *platform.libc_ver()]
print(json.dumps([place, platform.python_version(), fitting]))
"""
_TIMEOUT_S = 60
_UV = ("--offline", "--no-config", "--no-python-downloads", "--python-preference", "system")


@dataclass(frozen=True)
class Asked:
    """A Python that is asked for."""

    version: str
    """A version such as `3.12`, or a specifier such as `>=3.12`; empty for any."""
    by: str
    """Who asks, in words."""


@dataclass(frozen=True)
class Interpreter:
    """A Python of this machine."""

    path: Path
    version: str
    platform: tuple[str, ...]
    """What decides which builds of a package fit."""


def asked(folders: list[Path], setting: str | None) -> list[Asked]:
    """What is asked for, the first to be tried first; `folders` are looked into in turn.

    The setting, else `.python-version`, else `requires-python`. A `.python-version` is often one
    developer's exact patch release; another patch release of the same minor version serves as well.
    """
    if setting:
        return [Asked(setting, "`python` in [build]")]
    for folder in folders:
        if pinned := _pinned(folder / ".python-version"):
            minor = ".".join(pinned.split(".")[:2])
            both = dict.fromkeys((pinned, minor))
            return [Asked(version, "the release's .python-version") for version in both]
    for folder in folders:
        if required := _required(folder / "pyproject.toml"):
            return [Asked(required, "requires-python in the release's pyproject.toml")]
    return [Asked("", "nobody")]


def find(wishes: list[Asked], environment: dict[str, str]) -> Interpreter:
    """The interpreter for the first wish that can be met without downloading one.

    Raises BuildError that says what was asked for, by whom, and what is there.
    """
    for wish in wishes:
        if path := _found(wish.version, environment):
            return _described(path, environment)
    there = ", ".join(_available(environment)) or "none"
    raise BuildError(
        f"Python {wishes[0].version} is not on this machine, but {wishes[0].by} asks for it. "
        f"There: {there}. The app was not touched.",
        next_step="Install that Python, or set `python` in [build].",
    )


def _pinned(file: Path) -> str | None:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"The release's .python-version cannot be read: {error}.") from None
    versions = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return versions[0] if versions else None


def _required(file: Path) -> str | None:
    project = read_toml(file).get("project", {})
    required = project.get("requires-python") if isinstance(project, dict) else None
    return required if isinstance(required, str) else None


def read_toml(file: Path) -> dict[str, object]:
    """The file's content; nothing where there is no such file. Raises BuildError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BuildError(f"The release's {file.name} cannot be read: {error}.") from None


def _search_path(environment: dict[str, str]) -> dict[str, str]:
    """The environment, with the places on PATH where Pythons lie that PATH does not name."""
    pyenv = environment.get("PYENV_ROOT") or f"{environment.get('HOME', '')}/.pyenv"
    # Not Path.glob: it raises where a folder may not be read.
    found = sorted(glob.glob(f"{glob.escape(pyenv)}/versions/*/bin"))  # noqa: PTH207
    places = [os.path.join(sys.base_prefix, "bin"), *found]  # noqa: PTH118 - texts for PATH
    path = os.pathsep.join([environment.get("PATH", os.defpath), *places])
    return environment | {"PATH": path}


def _found(version: str, environment: dict[str, str]) -> Path | None:
    finished = command.run(
        [find_uv_bin(), "python", "find", "--system", "--no-project", *_UV, "--",
         *([version] if version else [])],
        cwd=Path("/"), environment=_search_path(environment), timeout_s=_TIMEOUT_S,
    )  # fmt: skip
    if finished.code:
        return None
    return Path(os.fsdecode(finished.stdout.strip()))


def _described(path: Path, environment: dict[str, str]) -> Interpreter:
    finished = command.run(
        [path, "-I", "-c", _QUESTION], cwd=Path("/"), environment=environment, timeout_s=_TIMEOUT_S
    )
    if finished.code:
        raise BuildError(f"{path} does not run.", output=finished.errors)
    executable, version, platform = json.loads(finished.stdout)
    return Interpreter(Path(executable), version, tuple(platform))


def _available(environment: dict[str, str]) -> list[str]:
    """The versions of the interpreters that are there."""
    finished = command.run(
        [find_uv_bin(), "python", "list", "--only-installed", "--output-format", "json", *_UV],
        cwd=Path("/"), environment=_search_path(environment), timeout_s=_TIMEOUT_S,
    )  # fmt: skip
    if finished.code:
        return []
    listed = json.loads(finished.stdout)
    return list(dict.fromkeys(str(one["version"]) for one in listed))
