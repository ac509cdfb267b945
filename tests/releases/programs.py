"""Whether a program still runs."""

from __future__ import annotations

import time
from pathlib import Path


def ends(process: int, *, within_s: float = 30) -> bool:
    """Whether the process ends in time; one that was not reaped yet has ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] in {"Z", "X"}:
            return True
        time.sleep(0.02)
    return False
