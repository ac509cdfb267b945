"""Where everything lies: the home, the folder that holds `surefoot.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The paths of one home. Nothing here touches the disk."""

    root: Path
    """Absolute and without symlinks."""

    @property
    def current(self) -> Path:
        """The symlink to the release in use."""
        return self.root / "current"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def ledger(self) -> Path:
        """Which releases were committed, in order, and which are denied."""
        return self.releases / "ledger.json"

    @property
    def hold(self) -> Path:
        """While it is there, no update starts by itself."""
        return self.releases / "hold.json"

    @property
    def environments(self) -> Path:
        return self.root / "environments"

    @property
    def mirror(self) -> Path:
        """The bare mirror of the git source."""
        return self.root / "source.git"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def lock(self) -> Path:
        """The journal of the update in flight; it exists exactly while one is."""
        return self.data / "UPDATE_LOCK.json"

    @property
    def history(self) -> Path:
        """One line per event, append-only."""
        return self.data / "update_history.jsonl"

    @property
    def delivered(self) -> Path:
        """How far those are that are told of events, such as notifications."""
        return self.data / "update_delivered.json"

    @property
    def backups(self) -> Path:
        return self.data / "backups" / "auto_update"

    @property
    def run(self) -> Path:
        """Sockets, pipes and requests of a running supervisor; may vanish when it is not."""
        return self.root / "run"

    @property
    def dashboard(self) -> Path:
        """The dashboard's token and sessions; nobody else can read them."""
        return self.root / "dashboard"

    @property
    def control(self) -> Path:
        """The pipe into the supervisor."""
        return self.run / "control"

    @property
    def request(self) -> Path:
        """The request that waits to be taken up."""
        return self.run / "request.json"

    @property
    def progress(self) -> Path:
        """The last line that a slow step has printed."""
        return self.run / "progress"

    @property
    def busy(self) -> Path:
        """Locked by the app while no update is to begin by itself."""
        return self.run / "busy"

    @property
    def postponed(self) -> Path:
        """There while an update is put off because the app is busy."""
        return self.run / "postponed"
