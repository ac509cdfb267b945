"""An app that a service manager runs; `bench.service` stands in for systemd."""

from __future__ import annotations

import sys

from bench.contenders.base import ROOT, Contender


class Managed(Contender):
    """Runs in the folder `app`, which is a checkout or a symlink to a release."""

    def command(self) -> list[str]:
        app = self.folder / "app"
        return [
            *(sys.executable, "-m", "bench.service", str(app)),
            *self.app_command(),
        ]

    def app_command(self) -> list[str]:
        """As most people run it."""
        uvicorn = str(self.folder / "app" / ".venv" / "bin" / "uvicorn")
        return [uvicorn, "main:app", "--port", str(self.port), "--no-access-log"]

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PYTHONPATH": str(ROOT)}
