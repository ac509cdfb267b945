"""A migration that cannot be told where to work is shown the link at the database's own path.

In a mount namespace of the migration's own, the link, its log and its index lie over those of the
database. So whoever in it opens the database works on the link, and everybody else goes on seeing
the database as it was. Mounting is for root, and in most containers not even for root.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MOUNTED = (
    'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"'
)


def is_possible(database: Path) -> bool:
    """Whether it may be done here: it is tried, seen by nobody."""
    if os.geteuid() != 0:
        return False
    command = [*within([(database, database)]), "true"]
    try:
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return False
    return tried.returncode == 0


def within(shown: Iterable[tuple[Path, Path]]) -> tuple[str, ...]:
    """What goes before a command, for it to find each first file at the place of the second."""
    pairs = (str(path) for pair in shown for path in pair)
    return ("unshare", "--mount", "/bin/sh", "-c", _MOUNTED, "sh", *pairs, "--")
