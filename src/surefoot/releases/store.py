"""The releases on disk, and which of them is in use.

    releases/<id>/app/           the code
    releases/<id>/venv           -> ../../environments/<key>
    releases/<id>/processes/     one script for each process of the app
    releases/<id>/release.json   written last: the release is whole

A folder without a readable `release.json` is unfinished and never used.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from surefoot import durable, stored
from surefoot.errors import DamagedError, RefusedError
from surefoot.releases import command, environment, kept, processes
from surefoot.releases.build import LOCK_NAME
from surefoot.stored import Moment

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.home import Home

MARKER = "release.json"
_SCHEMA = 1
_ID_DIGITS = 12
_ID = r"[0-9a-f]{7,64}"


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version of the app on disk."""

    schema: int = _SCHEMA
    id: str
    """The first twelve digits of the commit."""
    ref: str
    commit: str
    environment: str
    """The key of the environment it runs in."""
    created_at: Moment
    version: str | None = None
    migrations: dict[str, list[str]] = {}
    """The newest schema revisions that its code knows, by the name of the database."""
    dependencies: str = "none"
    """The kind of file that said its dependencies."""


def release_id(commit: str) -> str:
    """The id of the release that is made from a commit."""
    return commit[:_ID_DIGITS]


class Store:
    """The releases of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def folder(self, release: str) -> Path:
        """Where a release lies, whether it is there or not."""
        if not re.fullmatch(_ID, release):
            raise RefusedError(f"{release!r} cannot be a release.")
        return self.home.releases / release

    def code(self, release: str) -> Path:
        """Where a release's code lies."""
        return self.folder(release) / "app"

    def staging(self, release: str) -> Path:
        """A new, empty folder for the release; what an earlier attempt has left is removed, and
        programs that it left running are ended.

        Raises RefusedError for a release that is whole, or in use.
        """
        if self.is_whole(release):
            raise RefusedError(f"The release {release} is there already; it is never made over.")
        self.discard(release)
        folder = self.folder(release)
        durable.make_folder(folder)
        return folder

    def discard(self, release: str) -> None:
        """Removes a release, if it is there. Raises RefusedError for the one in use."""
        if self.current_id() == release:
            raise RefusedError(f"The release {release} is in use; it was left as it is.")
        with command.exclusive(self.home.releases / LOCK_NAME):
            durable.remove_tree(self.folder(release))

    def link_environment(self, release: str, key: str) -> None:
        """Makes the release's `venv` lead to its environment."""
        durable.link(self.folder(release) / "venv", f"../../environments/{key}")

    def link_kept(self, release: str, paths: list[str]) -> None:
        """Links what belongs to the user into the release's code; see `kept`."""
        kept.link(self.code(release), self.home, paths, first=self.current_id() is None)

    def finish(self, release: Release) -> None:
        """Makes the release whole: all of it is on the disk, then `release.json` says so."""
        folder = self.folder(release.id)
        durable.sync_tree(folder)
        durable.write(folder / MARKER, msgspec.json.format(msgspec.json.encode(release), indent=1))

    def get(self, release: str) -> Release | None:
        """The release of that id; None where there is none or it is unfinished.

        Raises DamagedError where its `release.json` cannot be read.
        """
        file = self.folder(release) / MARKER
        if not file.parent.is_dir():
            return None
        try:
            found = stored.load(file, Release)
        except FileNotFoundError:
            return None
        if found.schema > _SCHEMA or found.id != release:
            raise DamagedError(f"{file} is not of this release, or of a newer Surefoot.")
        return found

    def is_whole(self, release: str) -> bool:
        """Whether the release was made to its end."""
        try:
            return self.get(release) is not None
        except DamagedError:
            return False

    def is_startable(self, release: str) -> bool:
        """Whether the release has all that the supervisor needs to start it."""
        try:
            found = self.get(release)
        except DamagedError:
            return False
        folder = self.folder(release)
        return (
            found is not None
            and (folder / "app").is_dir()
            and (folder / processes.FOLDER).is_dir()
            and environment.is_whole(self.home.environments, found.environment)
        )

    def all(self) -> list[Release]:
        """The whole releases, the oldest first."""
        found = []
        for name in _names(self.home.releases):
            try:
                release = self.get(name)
            except DamagedError:
                continue
            if release:
                found.append(release)
        return sorted(found, key=lambda release: (release.created_at, release.id))

    def find(self, name: str) -> Release | None:
        """The newest whole release that a person calls `name`: by its id or commit (whole or the
        beginning), its ref or its version."""
        for release in reversed(self.all()):
            if name in {release.id, release.commit, release.ref, release.version}:
                return release
        begins = [r for r in self.all() if len(name) >= 4 and r.commit.startswith(name.lower())]
        return begins[0] if len(begins) == 1 else None

    def current_id(self) -> str | None:
        """The id of the release in use; None where there is none."""
        try:
            target = os.readlink(self.home.current)  # noqa: PTH115 - the text itself is wanted
        except OSError:
            return None
        name = target.rstrip("/").rpartition("/")[2]
        folder = self.home.releases / name
        if not re.fullmatch(_ID, name) or not folder.is_dir():
            return None
        return name if os.path.realpath(folder) == os.path.realpath(self.home.current) else None

    def is_obstructed(self) -> bool:
        """Whether something that we have not made lies where `current` belongs."""
        return os.path.lexists(self.home.current) and not self.home.current.is_symlink()

    def switch(self, release: str | None) -> None:
        """Takes the release into use by one rename; None: no release is in use.

        Raises DamagedError where its folder is not there; `current` is as it was then.
        """
        if release is None:
            durable.remove(self.home.current)
            return
        if not self.code(release).is_dir():
            raise DamagedError(f"The release {release} is not there; nothing was switched.")
        durable.link(self.home.current, f"releases/{release}")


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [name for name in os.listdir(folder) if re.fullmatch(_ID, name)]  # noqa: PTH208 - names, not paths
