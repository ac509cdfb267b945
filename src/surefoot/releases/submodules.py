"""Where a commit's submodules come from."""

from __future__ import annotations

import hashlib
import posixpath
from typing import TYPE_CHECKING

import msgspec

from surefoot.errors import StageError
from surefoot.releases.git_command import GitFailedError

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot import config
    from surefoot.releases.git_command import Git


def addresses(git: Git, commit: str) -> dict[str, str]:
    """The address of each submodule by its path, as `.gitmodules` has them."""
    try:
        said = git.run("config", "--blob", f"{commit}:.gitmodules", "-z", "--list")
    except GitFailedError as error:
        raise StageError(f"The release's .gitmodules cannot be read: {error.message}") from None
    facts: dict[str, dict[str, str]] = {}
    for line in said.decode("utf-8", errors="surrogateescape").split("\0"):
        key, _, value = line.partition("\n")
        name, _, what = key.removeprefix("submodule.").rpartition(".")
        facts.setdefault(name, {})[what] = value
    return {f["path"]: f["url"] for f in facts.values() if "path" in f and "url" in f}


def source(outer: config.Source, outer_address: str, address: str) -> config.Source:
    """The source of a submodule. `./` and `../` are meant relative to the outer repository."""
    if address.startswith(("./", "../")):
        head, separator, path = outer_address.rpartition("://")
        address = head + separator + posixpath.normpath(f"{path}/{address}")
    return msgspec.structs.replace(outer, git=address, branch=None, tags=None)


def mirror(outer: Path, source: config.Source) -> Path:
    """Where the mirror of a submodule lies: in the outer one's."""
    name = hashlib.sha256(source.git.encode(errors="surrogateescape")).hexdigest()[:16]
    return outer / "modules" / name
