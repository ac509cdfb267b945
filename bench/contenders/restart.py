"""The limit: a plain stop and start."""

from __future__ import annotations

import subprocess

from bench.contenders.managed import Managed
from bench.service import stop


class Restart(Managed):
    """Everything is there beforehand; only what cannot be left out is measured."""

    name = "restart"
    what = "the limit: the app is stopped and started again, everything else was done before"
    cannot = ("update anything",)

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._app: subprocess.Popen[bytes] | None = None
        self._migrates = False

    def install(self) -> None:
        self.folder.mkdir()
        self.checkout(self.folder / "app")

    def start(self) -> None:
        with self.log() as log:
            self._app = subprocess.Popen(
                self.app_command(), cwd=self.folder / "app", env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def prepare(self) -> None:
        app = self.folder / "app"
        before = {path.name for path in (app / "migrations" / "versions").iterdir()}
        self.must("git", "pull", "--quiet", "--ff-only", cwd=app)
        self.must(
            *("uv", "pip", "install", "--quiet", "--compile-bytecode"),
            *("--python", ".venv/bin/python", "-r", "requirements.txt"),
            cwd=app,
        )
        after = {path.name for path in (app / "migrations" / "versions").iterdir()}
        self._migrates = bool(after - before - {"__pycache__"})

    def update(self) -> bool:
        self._stop_app()
        if self._migrates:
            self.must(".venv/bin/alembic", "upgrade", "head", cwd=self.folder / "app")
        self.start()
        return True

    def go_back(self) -> None:
        self.must("git", "reset", "--quiet", "--hard", "ORIG_HEAD", cwd=self.folder / "app")
        self._stop_app()
        self.start()

    def stop(self) -> None:
        self._stop_app()
        super().stop()

    def _stop_app(self) -> None:
        if self._app is not None:
            stop(self._app)
