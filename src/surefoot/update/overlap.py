"""Overlap: a release is judged, and takes over, beside the one in use. Nobody waits.

The supervisor starts it without a public address, at its private place. Once it is proven,
`current` becomes it, the listening sockets are handed to it, and the old one is told to end: for a
moment both accept, and whoever is with the old one is served to the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.control import Exited
from surefoot.update import private_place

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.control import Event, Processes
    from surefoot.home import Home
    from surefoot.update.lock import Update

NAME = "beside"
"""What the supervisor calls it until it is the app."""


def why_not(update: Update, config: Config, home: Home, release: Path, pending: list[str]) -> str:
    """Why this update takes the ordinary way; empty where it need not."""
    if update.kind != "update" or update.from_ is None:
        return "it is no update of what runs"
    if update.origin == "app":
        return "the app has asked for it, and ends itself"
    if pending:
        return f"it may migrate the database {', '.join(pending)}"
    return private_place.why_not(config, home, release)


@dataclass
class Beside:
    """What runs beside the app, for the judge."""

    processes: Processes

    def wait(self, timeout_s: float) -> list[Event]:
        """Its exit; what the app does meanwhile is the supervisor's business."""
        events = self.processes.wait(timeout_s)
        return [e for e in events if isinstance(e, Exited) and e.name == NAME]
