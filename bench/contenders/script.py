"""Five lines of shell."""

from __future__ import annotations

from bench.contenders.managed import Managed


class Script(Managed):
    """The deploy script that most people have, and the app under a service manager."""

    name = "script"
    what = "`git pull && pip install -r && alembic upgrade head && restart`"
    cannot = (
        "see whether a release works",
        "go back by itself; a person types three commands",
        "put a database back",
        "finish after a crash or power cut in the middle",
        "keep connections while the app is away",
    )

    def install(self) -> None:
        self.folder.mkdir()
        self.checkout(self.folder / "app")
        self.copy_scripts("script", self.folder / "app")

    def update(self) -> bool:
        return self.run("sh", "deploy.sh", cwd=self.folder / "app")

    def go_back(self) -> None:
        self.must("sh", "rollback.sh", cwd=self.folder / "app")
