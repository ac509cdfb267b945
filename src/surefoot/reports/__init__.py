"""How things stand in a home, as `--json` prints it and the dashboard's API answers it.

Every function only looks, and is true in every state: what cannot be read is told, not raised.
"""

from __future__ import annotations

from surefoot.reports.available import Available, Source
from surefoot.reports.on_disk import Backup, Release, backup, backups, releases
from surefoot.reports.overview import Automatic, Status, automatic, status

__all__ = [
    "Automatic",
    "Available",
    "Backup",
    "Release",
    "Source",
    "Status",
    "automatic",
    "backup",
    "backups",
    "releases",
    "status",
]
