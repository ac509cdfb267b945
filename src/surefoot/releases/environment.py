"""The environments that releases run in.

An environment is keyed by all that defines it and never changed in place. It is built where it
will stay, because an environment cannot be moved; `environment.json`, written last, says that it
is whole. A folder without that file is what a killed build has left: it is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from uv import find_uv_bin

from surefoot import durable, stored
from surefoot.errors import BuildError, DamagedError
from surefoot.releases import command, dependencies, interpreter
from surefoot.releases.build_output import decisive_lines
from surefoot.releases.git_command import without_credentials
from surefoot.releases.uv_settings import build_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.config import Build
    from surefoot.releases.command import Guard, Progress
    from surefoot.releases.dependencies import Dependencies

MARKER = "environment.json"
_SCHEMA = 1
_ORPHAN_WAIT_S = 60


@dataclass(frozen=True)
class Plan:
    """The environment that a release needs."""

    key: str
    """The same for all releases that can share it."""
    python: Path
    python_version: str
    kind: str
    """uv.lock, pylock.toml, requirements.txt, pyproject.toml or none."""
    file: Path | None
    """What says the dependencies."""
    dependencies: Dependencies
    build: Build


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """`environment.json`."""

    schema: int = _SCHEMA
    key: str
    kind: str
    python: str
    python_version: str
    made_at: stored.Moment


def plan(code: Path, build: Build) -> Plan:
    """Which environment the release in `code` needs.

    Raises BuildError where nothing says its dependencies, or its Python is not on this machine.
    """
    found = dependencies.find(code, build)
    folders = list(dict.fromkeys([found.file.parent if found.file else code, code]))
    python = interpreter.find(interpreter.asked(folders, build.python), build_environment())
    defining = [
        _SCHEMA, found.kind, found.digest, str(python.path), python.version, python.platform,
        sorted(build.extras), sorted(build.groups), str(code) if found.is_local else "",
    ]  # fmt: skip
    key = hashlib.sha256(json.dumps(defining).encode()).hexdigest()[:16]
    return Plan(key, python.path, python.version, found.kind, found.file, found, build)


def is_whole(environments: Path, key: str) -> bool:
    """Whether the environment was built to its end, and its Python is still there."""
    folder = environments / key
    try:
        facts = stored.load(folder / MARKER, Facts)
    except (FileNotFoundError, DamagedError):
        return False
    return facts.key == key and os.access(folder / "bin" / "python", os.X_OK)


def build(plan: Plan, environments: Path, progress: Progress) -> Path:
    """Builds the environment at `environments/<key>`, or takes the one that is there.

    One that refers to the release's own folder is built each time, because that folder was just
    made anew. Raises BuildError, with the end of the output; nothing is left then.
    """
    folder = environments / plan.key
    if is_whole(environments, plan.key) and not plan.dependencies.is_local:
        for each in (folder, environments):  # its record may be seen, and not have lasted yet
            durable.sync_folder(each)
        progress("The environment is there already.")
        return folder
    with command.exclusive(environments / ".lock", wait_s=_ORPHAN_WAIT_S) as guard:
        durable.remove_tree(folder)
        try:
            _install(plan, folder, guard, progress)
        except BaseException:
            durable.remove_tree(folder)
            raise
        durable.sync_tree(folder)
        facts = Facts(
            key=plan.key, kind=plan.kind, python=str(plan.python),
            python_version=plan.python_version, made_at=datetime.now(UTC),
        )  # fmt: skip
        durable.write(folder / MARKER, msgspec.json.encode(facts))
        durable.sync_folder(environments)
    return folder


def _install(plan: Plan, folder: Path, guard: Guard, progress: Progress) -> None:
    progress(f"Making an environment with Python {plan.python_version}.")
    cache = folder.parent / ".cache"
    environment = build_environment(cache=cache)
    is_ours = environment.get("UV_CACHE_DIR") == str(cache)
    with _flushed_after(cache) if is_ours else contextlib.nullcontext():
        _by_uv(plan, folder, environment, guard, progress)


@contextlib.contextmanager
def _flushed_after(cache: Path) -> Iterator[None]:
    """What comes into the cache is copied from it later: it must not be what a power cut has left.
    It is flushed in the end, and where that end was not reached, the cache is begun anew."""
    unflushed = cache.with_name(f"{cache.name}.unflushed")
    if unflushed.exists():
        durable.remove_tree(cache)
    durable.write(unflushed, b"")
    since_ns = unflushed.stat().st_ctime_ns
    try:
        yield
    finally:
        durable.sync_tree(cache, since_ns=since_ns)
        durable.remove(unflushed)


def _by_uv(
    plan: Plan, folder: Path, environment: dict[str, str], guard: Guard, progress: Progress
) -> None:
    environment["UV_PROJECT_ENVIRONMENT"] = str(folder)
    venv = ["venv", "--no-project", "--python", str(plan.python), str(folder)]
    _uv(venv, folder.parent, plan, environment, guard, progress)
    if plan.file is not None:
        progress(f"Installing what {plan.file.name} asks for.")
        arguments = dependencies.install(plan.dependencies, plan.build, folder / "bin" / "python")
        if plan.kind == "uv.lock":
            arguments += ["--python", str(folder / "bin" / "python")]
        arguments += ["--link-mode=copy", "--compile-bytecode"]
        _uv(arguments, plan.file.parent, plan, environment, guard, progress)


def _uv(
    arguments: list[str],
    cwd: Path,
    plan: Plan,
    environment: dict[str, str],
    guard: Guard,
    progress: Progress,
) -> None:
    try:
        finished = command.run(
            [find_uv_bin(), *arguments],
            cwd=cwd,
            environment=environment,
            timeout_s=plan.build.timeout_s,
            guard=guard,
            merge=True,
            on_line=lambda line: progress(without_credentials(line)),
        )
    except command.TooLongError as error:
        raise BuildError(
            f"The environment could not be built: {error.message} The app was not touched.",
            next_step="Raise `timeout` in [build] if it needs longer.",
        ) from None
    if finished.code:
        output = without_credentials(finished.errors)
        raise BuildError(
            f"The environment could not be built from {plan.kind}: {decisive_lines(output)} "
            "The app was not touched.",
            next_step="Correct the dependencies in the repository, or the access to the index.",
            output=output,
        )
