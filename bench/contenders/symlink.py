"""Release folders and a symlink, as Capistrano and its followers do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.contenders.managed import Managed

if TYPE_CHECKING:
    from pathlib import Path


class Symlink(Managed):
    """Each release has a folder and an environment of its own, made by uv."""

    name = "symlink"
    what = "a folder and an environment (by uv) for every release, one symlink, a restart"
    cannot = (
        "see whether a release works",
        "go back by itself; a person types one command",
        "put a database back",
        "keep connections while the app is away",
    )

    def install(self) -> None:
        self.folder.mkdir()
        (self.folder / "shared" / "data").mkdir(parents=True)
        self.copy_scripts("symlink", self.folder)
        self.must("git", "clone", "--quiet", "--bare", str(self.source.history.remote), "repo.git")
        (self.folder / "app").symlink_to("current")
        self.must("env", "RESTART=true", "sh", "deploy.sh")

    @property
    def data(self) -> Path:
        return self.folder / "shared" / "data"

    def update(self) -> bool:
        return self.run("sh", "deploy.sh")

    def go_back(self) -> None:
        self.must("sh", "rollback.sh")
