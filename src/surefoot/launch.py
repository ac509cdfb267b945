"""`surefoot run`: prepares what a shell cannot, and then becomes the supervisor.

The lock that keeps a second supervisor out, the pipes, and the listening sockets are opened here
and handed over as descriptors; whatever a supervisor that was killed has left running is ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from surefoot import durable, leftovers, listening
from surefoot.control import CONTROL_FD, EVENTS_FD, LOCK_FD, lock_of
from surefoot.databases import journal_mode, settling
from surefoot.errors import RefusedError, SurefootError

if TYPE_CHECKING:
    from surefoot.config import Config
    from surefoot.home import Home

SUPERVISOR = Path(__file__).with_name("supervisor.sh")
FIRST_SOCKET_FD = 3
_OUT_OF_THE_WAY_FD = 64
_NOT_INHERITED = (
    *("SUREFOOT_MARK", "SUREFOOT_PROCESS", "SUREFOOT_ENGINE_CHILD"),  # say who started a process
    *("LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"),
    *("SUREFOOT_DASHBOARD_TOKEN", "SUREFOOT_PAGE", "SUREFOOT_API"),
)


def launch(home: Home, config: Config) -> NoReturn:
    """Becomes the supervisor of this home. `current` need not exist yet.

    Raises RefusedError where another supervisor runs or an address is in use; nothing has been
    started then.
    """
    try:
        home.run.mkdir(mode=0o700, exist_ok=True)
        lock = _locked(home)
    except OSError as error:
        raise RefusedError(
            f"{home.run} cannot be written: {error.strerror}.",
            next_step=f"Make it writable, or start the app by hand: sh {SUPERVISOR} {home.root}",
        ) from None
    leftovers.end(home, grace_s=config.app.stop_grace_s)
    _settle_databases(home, config)
    sockets = [listening.listen(address, home.root) for address in config.app.listen]
    (home.run / "crashes").unlink(missing_ok=True)  # they are counted since the start
    descriptors = {CONTROL_FD: _pipe(home.control), EVENTS_FD: _pipe(home.run / "events")}
    descriptors |= {FIRST_SOCKET_FD + i: held.detach() for i, held in enumerate(sockets)}
    _place({**descriptors, LOCK_FD: lock})
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores them, and that is inherited
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    arguments = ["sh", str(SUPERVISOR), str(home.root)]
    os.execve("/bin/sh", arguments, _environment(home, config))  # noqa: S606 - that is the point


def _settle_databases(home: Home, config: Config) -> None:
    """Gives a database the journal mode again that it had before an update: nothing is in flight,
    and the app, which may have been in the way, does not run."""
    if os.path.lexists(home.lock):
        return
    for settings in config.database.values():
        path = settings.path(home.root)
        if journal_mode.note(path).exists():
            settling.end(path)
            with contextlib.suppress(SurefootError, sqlite3.Error, OSError):
                journal_mode.settle(path)


def _locked(home: Home) -> int:
    """The descriptor of the lock, held."""
    lock = os.open(lock_of(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + 1  # a client that asks who runs holds it for an instant
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                pid = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
                os.close(lock)
                raise _runs_already(home, pid) from None
            time.sleep(0.02)
        else:
            break
    if (other := leftovers.supervisor(home)) is not None:
        raise _runs_already(home, str(other))
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def _runs_already(home: Home, pid: str) -> RefusedError:
    return RefusedError(
        f"Another supervisor runs the app in {home.root}: process {pid}.",
        next_step=f"To end it and the app: kill {pid}",
    )


def _pipe(path: Path) -> int:
    """A pipe that never ends: it is open for reading and writing at once."""
    durable.remove_tree(path)
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _place(descriptors: dict[int, int]) -> None:
    """Moves each descriptor to its number, to be inherited."""
    moved = {
        wanted: fcntl.fcntl(given, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY_FD)
        for wanted, given in descriptors.items()
    }
    for given in descriptors.values():
        os.close(given)
    for wanted, given in moved.items():
        os.dup2(given, wanted, inheritable=True)
        os.close(given)


def _environment(home: Home, config: Config) -> dict[str, str]:
    def seconds(value: float) -> str:
        return str(math.ceil(value))  # a shell counts in whole numbers

    app, update = config.app, config.update
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    environment |= {
        "SUREFOOT_HOME": str(home.root),
        "SUREFOOT_PYTHON": sys.executable,
        "SUREFOOT_STOP_GRACE": seconds(app.stop_grace_s),
        "SUREFOOT_CRASH_DELAY": seconds(app.crash_delay_s),
        "SUREFOOT_CRASH_DELAY_MAX": seconds(app.crash_delay_max_s),
        "SUREFOOT_STABLE_AFTER": seconds(app.stable_after_s),
        "SUREFOOT_CHECK_INTERVAL": seconds(update.interval_s) if update.auto else "0",
        "SUREFOOT_CONTROL_READY": "1",
        "SUREFOOT_API": " ".join(config.gate.api),
    }
    if config.gate.page:
        environment["SUREFOOT_PAGE"] = str(home.root / config.gate.page)
    if app.listen:
        environment["LISTEN_FDS"] = str(len(app.listen))
        environment["LISTEN_FDNAMES"] = ":".join(f"listen{i + 1}" for i in range(len(app.listen)))
    return environment
