"""Who has a database open, and what a killed engine has left running."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "SUREFOOT_MIGRATION"
"""The environment variable by which the processes of a migration are known as ours."""

GUARD = "SUREFOOT_GUARD"
"""The same for the process that holds a database's locks when the engine may be gone."""

SETTLING = "SUREFOOT_SETTLING"
"""The same for what holds a database, or works on it, after the commit: the database's path."""

KILLED_WITHIN_S = 10.0
_PROC = Path("/proc")
_SHOWN = 80
"""Characters of a command."""


def holders(path: Path, *, writing: bool = False) -> list[int]:
    """The processes that have the database, or its log, open (with `writing`: for writing).

    Processes of other users cannot be looked into, unless we are root.
    """
    wanted = set()
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            status = Path(f"{path}{suffix}").stat()
            wanted.add((status.st_dev, status.st_ino))
    return [pid for pid in _pids() if wanted and _holds(pid, wanted, writing=writing)]


def _holds(pid: int, wanted: set[tuple[int, int]], *, writing: bool) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)  # noqa: PTH208 - no objects for thousands of names
    except OSError:
        return False
    for descriptor in descriptors:
        with suppress(OSError):
            status = os.stat(f"{folder}/{descriptor}")  # noqa: PTH116 - as above
            if (status.st_dev, status.st_ino) in wanted and (
                not writing or _is_writable(pid, descriptor)
            ):
                return True
    return False


def _is_writable(pid: int, descriptor: str) -> bool:
    for line in (_PROC / str(pid) / "fdinfo" / descriptor).read_text().splitlines():
        if line.startswith("flags:"):
            return bool(int(line.split()[1], 8) & os.O_ACCMODE)
    return True


def named(pids: list[int]) -> str:
    """The processes with their commands, for people."""
    names = []
    for pid in pids:
        name = ""
        with suppress(OSError):
            words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
            line = " ".join(w.decode(errors="replace") for w in words if w)
            line = " ".join((line or (_PROC / str(pid) / "comm").read_text()).split())
            name = f" ({line[:_SHOWN]}{'...' if len(line) > _SHOWN else ''})"
        names.append(f"process {pid}{name}")
    return ", ".join(names) or "a process that cannot be seen from here"


def tcp_ports(pids: set[int]) -> set[int]:
    """The local ports of the processes' connections."""
    sockets = {inode for pid in pids for inode in _sockets(pid)}
    ports = set()
    for table in ("net/tcp", "net/tcp6"):
        with suppress(OSError):
            for line in (_PROC / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in sockets:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def _sockets(pid: int) -> list[str]:
    """The inodes of its sockets."""
    folder = f"/proc/{pid}/fd"
    found = []
    with suppress(OSError):
        for descriptor in os.listdir(folder):  # noqa: PTH208 - as below
            with suppress(OSError):
                target = os.readlink(f"{folder}/{descriptor}")  # noqa: PTH115
                if target.startswith("socket:["):
                    found.append(target[8:-1])
    return found


def end_marked(mark: str, variable: str = MARK) -> None:
    """Kills every process whose environment says that it belongs to `mark`.

    Returns when they are gone.
    """
    deadline = monotonic() + KILLED_WITHIN_S
    while killed := [pid for pid in _pids() if _kill_marked(pid, mark, variable)]:
        if monotonic() > deadline:
            raise OSError(f"The processes {killed} of an earlier attempt cannot be ended.")
        sleep(0.01)


def _kill_marked(pid: int, mark: str, variable: str) -> bool:
    """Whether it was there."""
    if pid == os.getpid() or not _is_marked(pid, mark, variable):
        return False
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:  # the descriptor makes sure that nobody else has got the number
        if not _is_marked(pid, mark, variable):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _is_marked(pid: int, mark: str, variable: str) -> bool:
    """Whether its environment has the variable with that value; it has none once it has ended."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - no object for each
            environment = file.read()
    except OSError:
        return False
    return os.fsencode(f"\0{variable}={mark}\0") in b"\0" + environment


def in_session(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for pid in _pids():
        with suppress(OSError, ValueError, IndexError):
            # The name in brackets may hold anything: what follows the last bracket is safe.
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(pid)
    return found


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208
