"""The published design, made again from its description."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from bench.contenders.managed import Managed


class Published(Managed):
    """A shell loop around the app; the app asks for updates by its exit code, and migrates."""

    name = "published"
    what = (
        "the published design: shell loop, tar backup, `git reset --hard`, pip, Alembic in the app"
    )
    cannot = (
        "see whether a release works",
        "go back by itself from what pip does not notice; a person unpacks an archive",
        "keep rows written since the app's start, where a migration fails",
        "answer anybody while no app process exists",
    )

    def install(self) -> None:
        self.folder.mkdir()
        self.checkout(self.folder / "app")
        self.copy_scripts("published", self.folder / "app")

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "bench.service", str(self.folder / "app")),
            *("bash", "entrypoint.sh"),
        ]

    def update(self) -> bool:
        for pid in self.processes():  # the button in the app
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"launcher.py" in words:
                os.kill(pid, signal.SIGUSR1)
                return True
        return False

    def go_back(self) -> None:
        self.must("sh", "rollback.sh", cwd=self.folder / "app")
