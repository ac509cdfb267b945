"""How much room on the disk the next update may need."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from surefoot.databases.database import Database
    from surefoot.home import Home
    from surefoot.releases.store import Store

RESERVE_BYTES = 64 * 1024 * 1024
"""Room that must be left over when everything is on the disk."""
FIRST_ENVIRONMENT_BYTES = 200 * 1024 * 1024
"""What an environment is taken to need while there is none to measure."""


def needed(home: Home, store: Store, databases: Iterable[Database]) -> dict[str, int]:
    """An estimate in bytes, by what it is for."""
    current = store.current_id()
    environments = [size_of(path) for path in home.environments.glob("[!.]*")]
    return {
        "databases": 2 * sum(database.size_bytes() for database in databases),
        "code": 2 * size_of(store.folder(current)) if current else 0,
        "environment": max(environments, default=FIRST_ENVIRONMENT_BYTES),
        "reserve": RESERVE_BYTES,
    }


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder, not following symlinks; 0 where there is none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                total += os.lstat(f"{place}/{name}").st_size
    return total
