"""What a supervisor that was killed has left running: found by its environment, and ended.

Only what bears this home's name and was started by a supervisor counts: a person's shell or a
command of ours in the same home is left alone.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from surefoot.control import LOCK_FD, lock_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.home import Home

_STARTED_BY_SUPERVISOR = (b"SUREFOOT_MARK=", b"SUREFOOT_PROCESS=", b"SUREFOOT_ENGINE_CHILD=")
_AFTER_KILL_S = 5.0


def supervisor(home: Home) -> int | None:
    """A supervisor of this home, found although its `run` folder was removed or moved away."""
    for pid, environment in _processes_of(home):
        if pid == os.getpid() or _is_started_by_supervisor(environment):
            continue
        with contextlib.suppress(OSError):
            held = os.readlink(f"/proc/{pid}/fd/{LOCK_FD}")  # noqa: PTH115 - not always a path
            if held.removesuffix(" (deleted)").endswith(f"/{lock_of(home).name}"):
                return pid
    return None


def end(home: Home, *, grace_s: float) -> None:
    """Ends them: SIGTERM, after the grace SIGKILL. Waits until they are gone."""
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _AFTER_KILL_S)):
        found = {pid: handle for pid in _leftovers(home) if (handle := _handle(pid)) is not None}
        if found and number is signal.SIGTERM:
            listed = ", ".join(map(str, found))
            sys.stderr.write(f"surefoot: A supervisor was killed; ending what it left: {listed}.\n")
        for handle in found.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
        _wait(list(found.values()), patience_s)


def _leftovers(home: Home) -> list[int]:
    own = _ancestry()
    return [
        pid
        for pid, environment in _processes_of(home)
        if pid not in own and _is_started_by_supervisor(environment)
    ]


def _is_started_by_supervisor(environment: list[bytes]) -> bool:
    return any(variable.startswith(_STARTED_BY_SUPERVISOR) for variable in environment)


def _processes_of(home: Home) -> Iterator[tuple[int, list[bytes]]]:
    wanted = b"SUREFOOT_HOME=" + os.fsencode(home.root)
    here = home.root.stat()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            if wanted not in environment or entry.stat().st_uid != os.geteuid():
                continue
            # In a container, a home of that name is another one.
            there = Path(f"/proc/{entry.name}/root{home.root}").stat()
        except OSError:
            continue  # of another user, or gone
        if os.path.samestat(here, there):
            yield int(entry.name), environment


def _ancestry() -> set[int]:
    """This process and those above it."""
    pid, found = os.getpid(), set[int]()
    while pid > 0:
        found.add(pid)
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            break
        pid = int(text.rpartition(")")[2].split()[1])
    return found


def _handle(pid: int) -> int | None:
    """A descriptor that goes on meaning this process, even if the number is given away again."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _wait(handles: list[int], patience_s: float) -> None:
    """Until all have ended, but no longer than `patience_s`; closes the handles."""
    deadline = monotonic() + patience_s
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    waiting = set(handles)
    while waiting and (remaining := deadline - monotonic()) > 0:
        for handle, _ in poll.poll(remaining * 1000):
            poll.unregister(handle)
            waiting.discard(handle)
    for handle in handles:
        os.close(handle)
