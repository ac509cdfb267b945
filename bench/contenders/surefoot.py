"""Surefoot, as its guide says."""

from __future__ import annotations

import contextlib
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.contenders.base import Contender
from surefoot import config
from surefoot.home import Home
from surefoot.update.history import Event, History

# Rehearsed for half a second instead of three, and watched for a fifth instead of sixty: neither is
# a part of the cutover, and so many updates are measured here.
_CONFIGURATION = """\
[app]
name = "notes"
command = "python -m surefoot.app.serve main:app --port {port} --no-access-log"
listen = ["127.0.0.1:{port}"]
{app}
[source]
git = "{remote}"
branch = "main"

[database]
url = "sqlite:///data/notes.db"
variable = "DATABASE_URL"

[health]
path = "/health"
watch = 0.2
{health}
[update]
rehearse = {rehearse}
"""


class Surefoot(Contender):
    """`surefoot run`, and `surefoot update --wait`."""

    name = "surefoot"
    what = "`surefoot run`, and `surefoot update`"
    cannot = ("serve both releases at once: visitors wait while the app is stopped and started",)
    in_app = ""

    def install(self) -> None:
        self.folder.mkdir()
        self.configure()

    def configure(self, *, rehearse: float = 0.5, health: str = "") -> None:
        """Writes surefoot.toml; the next update heeds it."""
        text = _CONFIGURATION.format(
            port=self.port, remote=self.source.history.remote, app=self.in_app, health=health,
            rehearse=rehearse,
        )  # fmt: skip
        (self.folder / "surefoot.toml").write_text(text)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "surefoot", "run", "--home", str(self.folder)]

    def update(self) -> bool:
        return self.run(
            *(sys.executable, "-m", "surefoot", "update", "--wait"),
            *("--json", "--home", str(self.folder)),
        )

    def go_back(self) -> None:
        """Nothing: it has done so by itself."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def settle(self) -> None:
        while Home(self.folder).lock.exists() or self._engines():
            time.sleep(0.05)

    def verdict_s(self) -> float | None:
        """When it last began to go back, by the clock of `time.monotonic`."""
        found = [event for event in self.events() if event.event == "rolling_back"]
        if not found:
            return None
        return time.monotonic() - (datetime.now(UTC) - found[-1].at).total_seconds()

    def events(self) -> list[Event]:
        """What the history says of the last update."""
        found = list(History(Home(self.folder)).read())
        return [event for event in found if event.update == found[-1].update]

    def _engines(self) -> list[int]:
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                found += [pid] if b"engine" in words else []
        return found


class Overlap(Surefoot):
    """Where a release says that it can live beside the one before it."""

    name = "surefoot_overlap"
    what = "the same, with `overlap = true`"
    cannot = ("overlap where a migration is pending: then it is as without",)
    in_app = "overlap = true\n"

    @classmethod
    def is_available(cls) -> bool:
        """Whether this Surefoot knows it."""
        return "overlap" in {field.encode_name for field in msgspec.structs.fields(config.App)}
