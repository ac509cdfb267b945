"""What a release depends on: the file that says so, what of it defines an environment, and how uv
installs it.

An environment is shared by all releases whose key is the same. One that refers to the release's
own folder (a project that is installed itself, a local path) belongs to that release alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surefoot.errors import BuildError
from surefoot.releases.interpreter import read_toml

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Build

KINDS = ("uv.lock", "pylock.toml", "requirements.txt", "pyproject.toml")
_MAX_NESTED = 20
_PLACE = r"[ =]+(?![ =])(?!(?!file:)\S*://)"  # after an option: something that is no web address


@dataclass(frozen=True)
class Dependencies:
    """What a release depends on."""

    kind: str
    """One of KINDS, or `none`."""
    file: Path | None
    digest: str
    """Of all that defines what will be installed."""
    is_local: bool
    """Whether something from the release's own folder is installed."""
    has_hashes: bool
    """Whether everything is pinned by hash."""


def find(code: Path, build: Build) -> Dependencies:
    """What the release in `code` depends on. Raises BuildError where nothing says so."""
    file = _file(code, build.dependencies)
    if file is None:
        return Dependencies("none", None, "", is_local=False, has_hashes=False)
    kind = _kind(file)
    if kind == "requirements.txt":
        texts = _requirements(file, code)
        return Dependencies(
            kind, file, _digest(texts),
            is_local=any(_has_local_line(text, file.parent) for text in texts.values()),
            has_hashes=any("--hash=" in text for text in texts.values()),
        )  # fmt: skip
    project = read_toml(file.with_name("pyproject.toml")) if kind != "pylock.toml" else {}
    if kind == "pyproject.toml":
        is_local = "build-system" in project or _has_local_source(project)
        return Dependencies(
            kind, file, _digest(_defining(project)), is_local=is_local, has_hashes=False
        )
    lock = read_toml(file)
    facts: Any = {"lock": _without_own_version(lock), "project": _defining(project)}
    is_local = _has_local_package(lock)
    return Dependencies(kind, file, _digest(facts), is_local=is_local, has_hashes=True)


def install(found: Dependencies, build: Build, python: Path) -> list[str]:
    """uv's arguments that install the dependencies; to be run in the file's folder.

    `python` is that of the new environment; `uv sync` gets its place as UV_PROJECT_ENVIRONMENT.
    """
    assert found.file is not None  # noqa: S101 - nothing to install otherwise
    extras = [part for extra in build.extras for part in ("--extra", extra)]
    groups = [part for group in build.groups for part in ("--group", group)]
    if found.kind == "uv.lock":
        no_dev = [] if "dev" in build.groups else ["--no-dev"]
        return ["sync", "--frozen", *no_dev, *extras, *groups]
    pip = ["--python", str(python)]
    if found.kind == "pylock.toml":
        return ["pip", "sync", *pip, *extras, *groups, "--allow-empty-requirements",
                found.file.name]  # fmt: skip
    if found.kind == "requirements.txt":
        strict = ["--require-hashes"] if found.has_hashes and not found.is_local else []
        return ["pip", "install", *pip, *strict, "-r", found.file.name]
    if _is_packaged(read_toml(found.file)):
        chosen = f"[{','.join(build.extras)}]" if build.extras else ""
        return ["pip", "install", *pip, *groups, "-e", f".{chosen}"]
    return ["pip", "install", *pip, *extras, *groups, "-r", found.file.name]


def _file(code: Path, setting: str | None) -> Path | None:
    if setting == "none":
        return None
    if setting is not None:
        file = code / setting
        if not file.resolve().is_relative_to(code.resolve()) or not file.is_file():
            raise BuildError(
                f"The release has no {setting}, which [build] names as its dependencies."
            )
        return file
    for name in KINDS:
        file = code / name
        if file.is_file() and (name != "pyproject.toml" or _says_dependencies(file)):
            return file
    raise BuildError(
        "The release has no uv.lock, pylock.toml, requirements.txt or pyproject.toml with "
        "dependencies in its top folder.",
        next_step='Name the file in [build] dependencies, or say dependencies = "none".',
    )


def _says_dependencies(pyproject: Path) -> bool:
    """Many a pyproject.toml only configures tools."""
    content = read_toml(pyproject)
    return "project" in content or "build-system" in content


def _kind(file: Path) -> str:
    if file.name in KINDS:
        return file.name
    if re.fullmatch(r"pylock\..+\.toml", file.name):
        return "pylock.toml"
    if file.suffix in {".txt", ".in"}:
        return "requirements.txt"
    raise BuildError(
        f"It is not known how to install {file.name}, which [build] names as the dependencies.",
        next_step="Name a uv.lock, pylock.toml, pyproject.toml or a file of requirements (.txt).",
    )


def _requirements(file: Path, code: Path) -> dict[str, str]:
    """The content of the file and of all that it refers to by -r or -c, by their place."""
    texts: dict[str, str] = {}
    waiting = [file]
    while waiting:
        one = waiting.pop().resolve()
        name = str(one.relative_to(code.resolve())) if one.is_relative_to(code.resolve()) else None
        if name is None or len(texts) > _MAX_NESTED:
            raise BuildError(f"{file.name} of the release refers to {one}, outside of it.")
        if name in texts:
            continue
        try:
            texts[name] = one.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise BuildError(f"The release's {name} cannot be read: {error}.") from None
        referred = re.findall(
            r"^\s*(?:-r|-c|--requirements?|--constraints?)[ =]*(\S+)", texts[name], re.MULTILINE
        )
        waiting += [one.parent / place for place in referred if "://" not in place]
    return texts


def _has_local_line(text: str, folder: Path) -> bool:
    """Whether a line of requirements refers to something in the release's own folder."""
    for raw in text.splitlines():
        line = raw.split(" #")[0].strip()
        if re.match(rf"(-e|--editable){_PLACE}|\.|/|file:", line):
            return True
        if re.search(r"@\s*(file:|\.|/)", line):
            return True
        if re.match(rf"(-f|--find-links){_PLACE}", line):
            return True
        place = re.split(r"[\s;\[#@]", line)[0]
        if "/" in place and "://" not in place and (folder / place).exists():
            return True
    return False


def _is_packaged(project: dict[str, Any]) -> bool:
    return "build-system" in project and project.get("tool", {}).get("uv", {}).get("package", True)


def _has_local_source(project: dict[str, Any]) -> bool:
    sources = project.get("tool", {}).get("uv", {}).get("sources", {})
    flat = [s for one in sources.values() for s in (one if isinstance(one, list) else [one])]
    return any("path" in one or "workspace" in one for one in flat)


def _has_local_package(lock: dict[str, Any]) -> bool:
    """Whether a uv.lock or a pylock.toml installs something from a path."""
    for package in lock.get("package", []):
        if {"editable", "directory", "path"} & package.get("source", {}).keys():
            return True
    for package in lock.get("packages", []):
        archives = [package.get("archive", {}), package.get("sdist", {})]
        if "directory" in package or any(
            "path" in a for a in [*archives, *package.get("wheels", [])]
        ):
            return True
    return False


def _without_own_version(lock: dict[str, Any]) -> dict[str, Any]:
    """A release of the app itself that changes no dependency changes only its own version."""
    packages = [
        {k: v for k, v in package.items() if k != "version" or "virtual" not in package["source"]}
        for package in lock.get("package", [])
    ]
    return lock | {"package": packages}


def _defining(project: dict[str, Any]) -> dict[str, Any]:
    """What of a pyproject.toml decides which packages are installed."""
    own = project.get("project", {})
    names = ("name", "dependencies", "optional-dependencies", "requires-python", "scripts",
             "gui-scripts", "entry-points", "dynamic")  # fmt: skip
    return {
        "project": {name: own[name] for name in names if name in own},
        "groups": project.get("dependency-groups"),
        "build-system": project.get("build-system"),
        "uv": project.get("tool", {}).get("uv"),
    }


def _digest(facts: object) -> str:
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
