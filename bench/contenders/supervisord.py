"""The same five lines under supervisord."""

from __future__ import annotations

import getpass
import shlex
import sys
from pathlib import Path

from bench.contenders.base import HERE
from bench.contenders.script import Script


class Supervisord(Script):
    """Restarted by supervisorctl, and after a crash by supervisord."""

    name = "supervisord"
    what = "the same script; the app runs under supervisord, which restarts it"
    cannot = Script.cannot

    def install(self) -> None:
        super().install()
        template = (HERE / "supervisord" / "supervisord.conf").read_text()
        uvicorn = str(self.folder / "app" / ".venv" / "bin" / "uvicorn")
        text = template.format(
            folder=self.folder,
            user=getpass.getuser(),
            command=shlex.join([uvicorn, "main:app", "--port", str(self.port), "--no-access-log"]),
        )
        self._configuration.write_text(text)

    def command(self) -> list[str]:
        program = Path(sys.executable).with_name("supervisord")
        return [str(program), "-c", str(self._configuration)]

    @property
    def environment(self) -> dict[str, str]:
        ctl = Path(sys.executable).with_name("supervisorctl")
        restart = shlex.join([str(ctl), "-c", str(self._configuration), "restart", "notes"])
        return super().environment | {"RESTART": restart}

    @property
    def _configuration(self) -> Path:
        return self.folder / "supervisord.conf"
