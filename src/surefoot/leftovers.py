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
_SHELL_OF_SUPERVISOR = b"SUREFOOT_CONTROL_READY="
"""A timer, or the shell that waits for a process."""
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
    """Ends them: SIGTERM, after the grace SIGKILL. Returns when they are gone.

    To be called with the lock held: there must be no living supervisor.
    """
    handles = _signal(home, signal.SIGTERM)
    if not handles:
        return
    sys.stderr.write("surefoot: A supervisor was killed; what it left running is ended first.\n")
    _wait(handles, grace_s)
    deadline = monotonic() + _AFTER_KILL_S
    while (handles := _signal(home, signal.SIGKILL)) and monotonic() < deadline:
        _wait(handles, _AFTER_KILL_S)  # and look again: they may have started more


def _signal(home: Home, number: signal.Signals) -> list[int]:
    """Signals each; returns handles to wait for."""
    own = _ancestry()
    handles = []
    for pid, environment in _processes_of(home):
        if pid in own or not _is_left(environment):
            continue
        with contextlib.suppress(OSError):  # gone in the meantime
            handle = os.pidfd_open(pid)  # goes on meaning this process, whatever has its number
            handles.append(handle)
            signal.pidfd_send_signal(handle, number)
    return handles


def _is_left(environment: list[bytes]) -> bool:
    return _is_started_by_supervisor(environment) or any(
        variable.startswith(_SHELL_OF_SUPERVISOR) for variable in environment
    )


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
