"""Copies of an update's databases, to try things on while the app serves.

They lie in a folder of the update's own and go with it. Only those that can be told of are made:
the databases with a `variable`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from surefoot.databases.processes import MARK, end_marked
from surefoot.errors import DatabaseError
from surefoot.releases import processes
from surefoot.update.private_run import MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.databases.backups import Kept
    from surefoot.databases.database import Copy, Database
    from surefoot.home import Home
    from surefoot.update.databases import Databases
    from surefoot.update.lock import Update

RESERVE_BYTES = 64 * 1024 * 1024


class SkippedError(Exception):
    """Something cannot be rehearsed; the message says why."""


def clean(home: Home) -> None:
    """Ends and removes what a rehearsal that was interrupted has left."""
    folder = _folder(home)
    if not folder.exists():
        return
    for left in folder.iterdir():
        end_marked(str(left))
    shutil.rmtree(folder)


def _folder(home: Home) -> Path:
    return home.backups / "rehearsal"


@dataclass
class Copies:
    """Of one update, whose release lies whole in the folder `release`."""

    home: Home
    config: Config
    update: Update
    release: Path
    databases: Databases
    backups: dict[str, Kept]
    """The backup of each database that is there, made just now."""
    made: dict[str, Copy] = field(init=False, default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return _folder(self.home) / self.update.id

    @property
    def mark(self) -> dict[str, str]:
        """By which whatever works on them is ended with them."""
        return {MARK: str(self.folder)}

    def make(self) -> None:
        """Unless that was done. Raises SkippedError where it cannot be."""
        if self.made:
            return
        size_bytes = sum(database.size_bytes() for database in self.databases)
        if shutil.disk_usage(self.home.data).free < 2 * size_bytes + RESERVE_BYTES:
            raise SkippedError("the disk has no room for a copy of the databases")
        self.folder.mkdir(parents=True, exist_ok=True)
        for database in self.databases:
            name = database.name
            if not self.config.database[name].variable:
                continue
            try:
                self.made[name] = database.copy(self.backups.get(name), self.folder)
            except DatabaseError as error:
                self.made.clear()
                raise SkippedError(
                    f"the database {name} cannot be copied: {error.message.rstrip('.')}"
                ) from error

    def urls(self, places: Mapping[str, Database]) -> dict[str, str]:
        """What tells the release of these instead of its databases."""
        return {
            database.variable: places[name].url
            for name, database in self.config.database.items()
            if database.variable
        }

    def environment(self, places: Mapping[str, Database]) -> dict[str, str]:
        """All of the environment of a migration that is to work there."""
        is_back = self.update.kind == "rollback"
        folder = self.databases.migrating(self.update) if is_back else self.release
        variables = processes.command_environment(folder, self.home, self.config)
        return variables | self.urls(places) | self.mark | {MARKER: "1"}
