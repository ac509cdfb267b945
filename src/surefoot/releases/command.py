"""Running other programs so that none of them can hang, outlive us unseen, or flood the memory.

Each program gets a session of its own, no terminal, and a time limit that ends its whole group.
What it may change is guarded by a lock file whose descriptor it inherits: a program that outlives
a killed engine still holds the lock, so the next engine finds it and ends it before it goes on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from surefoot import durable
from surefoot.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_TICK_S = 0.1
_TAIL_BYTES = 64 * 1024
_GONE_WAIT_S = 2.0
_DRAIN_READS = 64  # far more than a pipe holds


class Progress(Protocol):
    """Told one line at a time what is being done."""

    def __call__(self, line: str, /) -> None: ...


@dataclass(frozen=True)
class Finished:
    """How a program ended."""

    code: int
    """The exit code; negative for a signal."""
    stdout: bytes
    errors: str
    """The end of what came on stderr; with `merge`, of stdout as well."""


class TooLongError(StageError):
    """A program did not end within its time limit; its whole group was killed."""


class TooMuchError(StageError):
    """A program printed or wrote more than it may; its whole group was killed."""


@dataclass(frozen=True)
class Guard:
    """The held lock on a file. Programs that are run with it hold it as well, while they live."""

    path: Path
    descriptor: int


@contextlib.contextmanager
def exclusive(path: Path, *, wait_s: float = 30) -> Iterator[Guard]:
    """Holds the lock on `path`. Ends a program that a killed engine has left running under it.

    Raises StageError if somebody else still holds it after `wait_s` seconds.
    """
    durable.make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + wait_s
        while not _taken(descriptor):
            _end_orphans(path)
            if time.monotonic() > deadline:
                raise StageError(
                    f"Another process still works under {path}; nothing was changed.",
                    next_step="Try again when it has ended.",
                )
            time.sleep(_TICK_S)
        yield Guard(path, descriptor)
    finally:
        os.close(descriptor)


def run(
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    guard: Guard | None = None,
    merge: bool = False,
    max_output_bytes: int = 256 * 1024 * 1024,
    on_line: Callable[[str], None] | None = None,
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Runs a program to its end; what it leaves behind in its process group is killed.

    `on_line` gets each line of stderr (with `merge`, of stdout too) as it comes. `watch` is called
    about ten times a second and may raise to end the program. Raises OSError if it cannot be
    started, TooLongError and TooMuchError.
    """
    process = subprocess.Popen(
        [os.fspath(argument) for argument in arguments],
        cwd=cwd,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge else subprocess.PIPE,
        start_new_session=True,
        pass_fds=(guard.descriptor,) if guard else (),
    )
    with process:
        try:
            reader = _Reader(process, merge=merge, limit=max_output_bytes, on_line=on_line)
            deadline = time.monotonic() + timeout_s
            while not reader.ended():
                _check_time(deadline, Path(arguments[0]).name, timeout_s)
                if watch:
                    watch()
                reader.read()
        except BaseException:
            _kill_group(process.pid)
            process.wait()
            _wait_until_gone(process.pid)
            raise
        code = process.wait()
    return Finished(code, bytes(reader.stdout), reader.errors.decode(errors="replace"))


class _Reader:
    """Takes what a process prints, until it has ended (not until its pipes are closed: a daemon
    that it leaves behind may keep them open)."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        merge: bool,
        limit: int,
        on_line: Callable[[str], None] | None,
    ) -> None:
        self.stdout = bytearray()
        self.errors = bytearray()
        self._process = process
        self._limit = limit
        self._on_line = on_line
        self._line = bytearray()
        self._selector = selectors.DefaultSelector()
        for stream, is_stdout in ((process.stdout, not merge), (process.stderr, False)):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream, selectors.EVENT_READ, is_stdout)

    def ended(self) -> bool:
        """Whether the process has ended and all that it printed was taken."""
        if self._process.poll() is None:
            return False
        _kill_group(self._process.pid)
        for _ in range(_DRAIN_READS):
            if not self.read(0):
                break
        if self._line:
            self._tell(b"\n")
        self._selector.close()
        return True

    def read(self, wait_s: float = _TICK_S) -> bool:
        """Takes what is there; False if nothing was."""
        if not self._selector.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
            return False
        found = False
        for key, _ in self._selector.select(wait_s):
            chunk = os.read(key.fd, 65536)
            if not chunk:
                self._selector.unregister(key.fileobj)
            elif key.data:
                self.stdout += chunk
                if len(self.stdout) > self._limit:
                    raise TooMuchError(f"A program printed more than {self._limit} bytes.")
            else:
                self.errors += chunk
                del self.errors[:-_TAIL_BYTES]
                self._tell(chunk)
            found = True
        return found

    def _tell(self, chunk: bytes) -> None:
        if self._on_line is None:
            return
        *lines, rest = (bytes(self._line) + chunk).replace(b"\r", b"\n").split(b"\n")
        self._line = bytearray(rest[-_TAIL_BYTES:])
        for line in lines:
            if text := line.decode(errors="replace").strip():
                self._on_line(text)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_orphans(path: Path) -> None:
    """Kills the process groups that hold the lock after the one who took it is gone."""
    taker, holders = _holders(path)
    if taker in holders:
        return
    for holder in holders:
        with contextlib.suppress(ProcessLookupError):
            _kill_group(os.getpgid(holder))


def _holders(path: Path) -> tuple[int | None, set[int]]:
    """Who took the lock, and who holds it now. A waiting process has the file open, but does not
    hold it: /proc tells the two apart."""
    taker, holders = None, set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                if link.readlink() != path:
                    continue
                text = (process / "fdinfo" / link.name).read_text(encoding="ascii")
                if found := re.search(r"^lock:.* FLOCK .*WRITE (\d+) ", text, re.MULTILINE):
                    taker = int(found[1])
                    holders.add(int(process.name))
    return taker, holders


def _check_time(deadline: float, name: str, timeout_s: float) -> None:
    if time.monotonic() > deadline:
        raise TooLongError(f"`{name}` did not end within {timeout_s:g} seconds.")


def _wait_until_gone(group: int) -> None:
    """A killed process may still be at its last write. Zombies that nobody reaps end the wait."""
    deadline = time.monotonic() + _GONE_WAIT_S
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.01)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
