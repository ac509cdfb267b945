"""Runs a release's own process on a private address, beside the release that serves.

What listens gets sockets of its own on loopback, by LISTEN_FDS or in the place of the port in its
command. It is told by SUREFOOT_REHEARSAL=1 what it is; without SUREFOOT_HOME it takes no part in an
update. Its session ends with the run; what has left the session is known by its environment.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import shlex
import signal
import socket
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace

from surefoot.control import Event, Exited
from surefoot.databases.passwords import hidden
from surefoot.databases.processes import KILLED_WITHIN_S, in_session
from surefoot.releases import processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.databases.database import Database

MARKER = "SUREFOOT_REHEARSAL"
"""`1` in the environment of whatever is rehearsed: keep your hands off the outside world."""
FIRST_DESCRIPTOR = 3
_OUT_OF_THE_WAY_FD = 64
_LOOK_EVERY_S = 0.5
_LOOPBACK = "127.0.0.1"
# SUREFOOT_MARK stays: by it the supervisor ends what a dead engine has left.
_FOREIGN = ("SUREFOOT_HOME", "SUREFOOT_PYTHON", "SUREFOOT_ENGINE_CHILD", "NOTIFY_SOCKET")
_PORT = re.compile(r"((?:--port|-p)[ =])\d+\b")
_BIND = re.compile(r"((?:--bind|-b|--http)[ =])\S*:\d+\b")
_HOST = re.compile(r"(--host[ =])\S+")


class StrayedError(Exception):
    """What runs has opened a real database, although it was told of a copy."""


@dataclass(frozen=True)
class Place:
    """Which process is run, and where it can be asked."""

    process: str
    command: str
    address: str
    sockets: list[socket.socket] = field(default_factory=list)


def why_not(config: Config) -> str:
    """Why the app cannot be run beside itself and be judged; empty where it can."""
    health, address = config.health, config.address()
    if health.path is None and health.http is None:
        return "no question over HTTP tells whether it is healthy ([health] path)"
    if health.http is not None and (address is None or not _is_at(health.http, address)):
        return f"{health.http} is not on the app's own address"
    for name, database in config.database.items():
        if not database.variable:
            return f"no variable tells the app where the database {name} is ([database] variable)"
    if any(not entry.startswith("unix:") for entry in config.app.listen):
        return ""
    if config.app.listen or _named_port(config) is None:
        return "the app cannot be told another address ([app] listen)"
    return ""


@contextlib.contextmanager
def place(config: Config) -> Iterator[Place]:
    """A private place for the app that `why_not` has nothing against."""
    if not config.app.listen:
        process, command = _named_port(config) or ("", "")
        address = f"{_LOOPBACK}:{_free_port()}"
        command = _HOST.sub(rf"\g<1>{_LOOPBACK}", command)
        command = _PORT.sub(rf"\g<1>{address.rpartition(':')[2]}", command)
        yield Place(process, _BIND.sub(rf"\g<1>{address}", command), address)
        return
    commands = config.app.commands()
    process = "web" if "web" in commands else next(iter(commands))
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(_listening(entry)) for entry in config.app.listen]
        asked = next(s for s in sockets if s.family is not socket.AF_UNIX)
        address = f"{_LOOPBACK}:{asked.getsockname()[1]}"
        yield Place(process, commands[process], address, sockets)


def at(config: Config, address: str) -> Config:
    """The configuration by which the app is judged there: by HTTP alone, for what else it is asked
    is asked of the one that serves."""
    health = config.health
    http = health.http and urlunsplit(urlsplit(health.http)._replace(netloc=address))
    health = replace(
        health, http=http, tcp=None, command=None, notify=False,
        window_s=config.update.rehearse_s,
    )  # fmt: skip
    return replace(config, health=health, app=replace(config.app, listen=[address]))


def environment(variables: dict[str, str], told: Place) -> dict[str, str]:
    """The environment of what is run there; `variables` is what it would have at its real place."""
    kept = {
        name: value
        for name, value in variables.items()
        if name not in _FOREIGN and not name.startswith("LISTEN_")
    }
    if told.sockets:
        kept["LISTEN_FDS"] = str(len(told.sockets))
        kept["LISTEN_FDNAMES"] = ":".join(f"listen{i + 1}" for i in range(len(told.sockets)))
    return kept | {MARKER: "1", "SUREFOOT_PROCESS": told.process}


@dataclass
class PrivateRun:
    """The process, from entering to leaving; what is judged of it is what `wait` tells."""

    place: Place
    environment: dict[str, str]
    code: Path
    output: Path
    untouchable: list[Database]
    """The real databases."""
    _pid: int = field(init=False, default=0)
    _exited: bool = field(init=False, default=False)
    _told: bool = field(init=False, default=False)
    _looked_at_s: float = field(init=False, default=0.0)
    _handle: int = field(init=False, default=-1)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            self._pid = self._spawned(opened)
        self._handle = os.pidfd_open(self._pid)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end()
        finally:
            os.close(self._handle)

    def wait(self, timeout_s: float) -> list[Event]:
        """Tells once that it has exited; otherwise waits. Raises StrayedError."""
        if monotonic() - self._looked_at_s > _LOOK_EVERY_S:
            self.check()
        if self._told:
            sleep(timeout_s)
            return []
        poll = select.poll()
        poll.register(self._handle, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return []
        self._told = True
        return [Exited(self.place.process, self._reaped())]

    def said(self, limit_bytes: int) -> str:
        """The end of what it has printed."""
        with self.output.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit_bytes))
            return hidden(file.read().decode(errors="replace"), self.environment)

    def _spawned(self, opened: contextlib.ExitStack) -> int:
        text = (
            "SUREFOOT_PID=$$; export SUREFOOT_PID; "
            'if [ -n "${LISTEN_FDS:-}" ]; then LISTEN_PID=$$; export LISTEN_PID; fi; '
            f"cd {shlex.quote(str(self.code))} || exit 126; exec "
            + processes.executable_command(self.place.process, self.place.command)
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions: list[tuple[object, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.output), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        # The engine's own include the public sockets.
        actions += [(os.POSIX_SPAWN_CLOSE, number) for number in _inherited()]
        for number, held in enumerate(self.place.sockets):
            away = _dup(held.fileno(), opened)
            actions.append((os.POSIX_SPAWN_DUP2, away, FIRST_DESCRIPTOR + number))
        return os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", text],
            self.environment,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT],
        )

    def check(self) -> None:
        """Raises StrayedError where it has a real database open."""
        self._looked_at_s = monotonic()
        own = set(in_session(self._pid))
        for database in self.untouchable:
            if database.is_open_in(own):
                raise StrayedError(
                    f"it has opened {database.place}, although it was told of a copy"
                )

    def _reaped(self) -> int:
        """The exit code; 128 + n where signal n has ended it."""
        _, status = os.waitpid(self._pid, 0)
        self._exited = True
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _end(self) -> None:
        """Kills its whole session."""
        deadline = monotonic() + KILLED_WITHIN_S
        while left := in_session(self._pid):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if monotonic() > deadline:
                raise OSError(f"The processes {left} of a rehearsal cannot be ended.")
            sleep(0.01)
        if not self._exited:
            self._reaped()


def _named_port(config: Config) -> tuple[str, str] | None:
    """The process, and its command, in which the app's own port stands."""
    port = (config.address() or "").rpartition(":")[2]
    for name, command in config.app.commands().items():
        for pattern in (_PORT, _BIND):
            found = pattern.search(command)
            if found and found[0].endswith(port):
                return name, command
    return None


def _listening(entry: str) -> socket.socket:
    if entry.startswith("unix:"):
        held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        held.bind("")  # a name of the kernel's, without a file (unix(7), autobind)
    else:
        held = socket.socket()
        held.bind((_LOOPBACK, 0))
    held.listen()
    held.setblocking(False)
    return held


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _inherited() -> list[int]:
    """The descriptors that any program we start would get."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        with contextlib.suppress(OSError):
            if int(name) >= FIRST_DESCRIPTOR and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def _dup(descriptor: int, opened: contextlib.ExitStack) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY_FD)
    opened.callback(os.close, moved)
    return moved


def _is_at(url: str, address: str) -> bool:
    found = urlsplit(url)
    default = 443 if found.scheme == "https" else 80
    host, _, port = address.rpartition(":")
    here = {_LOOPBACK, "localhost", "[::1]", "::1", host, host.strip("[]")}
    return str(found.port or default) == port and (found.hostname or "") in here
