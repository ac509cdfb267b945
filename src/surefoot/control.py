"""Talking with the supervisor, over two pipes whose every message is one short line.

Clients write into `run/control`. The engine, which the supervisor has started, writes into the same
pipe (descriptor 7) and reads answers and events from a second one (descriptor 8). What the lines
mean is told at the head of supervisor.sh.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from surefoot.errors import NotRunningError, SupervisorError

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.home import Home

CONTROL_FD = 7
EVENTS_FD = 8
LOCK_FD = 9
ANSWER_TIMEOUT_S = 30.0
"""The supervisor answers at once, except for a stop, which waits for the app to end."""


@dataclass(frozen=True)
class Exited:
    """A process of the app has ended; `code` is 128 + n where signal n has ended it."""

    name: str
    code: int


@dataclass(frozen=True)
class Requested:
    """A client has left a request in `run/request.json`."""


Event = Exited | Requested


def lock_of(home: Home) -> Path:
    """The file that the supervisor holds with flock(2), from its first moment to its last; its
    process id stands in it."""
    return home.run / "supervisor.lock"


def is_running(home: Home) -> bool:
    """Whether a supervisor runs the app in this home."""
    try:
        os.close(os.open(home.control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        lock = os.open(lock_of(home), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def send(home: Home, line: str) -> None:
    """Writes a line to the supervisor; it is acted upon later.

    Raises NotRunningError where there is none.
    """
    not_running = NotRunningError(
        f"The app in {home.root} does not run under Surefoot.",
        next_step="Start it with `surefoot run`.",
    )
    if not is_running(home):
        raise not_running
    try:
        pipe = os.open(home.control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise not_running from None
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            raise NotRunningError(
                f"{home.control} is not the supervisor's pipe any more.",
                next_step="Restart it: end it with SIGTERM, then `surefoot run`.",
            )
        os.write(pipe, _encoded(line))
    except BlockingIOError:
        raise NotRunningError(
            f"The supervisor of {home.root} does not read what it is sent.",
            next_step="Restart it: end it with SIGTERM, then `surefoot run`.",
        ) from None
    finally:
        os.close(pipe)


@dataclass
class Processes:
    """The app's processes as the engine sees them: it says the goal, the supervisor sees to it."""

    control_fd: int = CONTROL_FD
    events_fd: int = EVENTS_FD
    _events: deque[Event] = field(default_factory=deque, init=False)
    _partial: bytes = field(default=b"", init=False)

    def stop(self, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Ends every process, and what it has started; returns when all are gone.

        Raises SupervisorError if that takes longer than `timeout_s`.
        """
        self._ask("stop", "stopped", timeout_s)

    def attempt(self, timeout_s: float = ANSWER_TIMEOUT_S, *, in_private: bool = False) -> None:
        """Starts what does not run, of `current`. What ends is not started again. With `in_private`
        it has no public address until it is handed the sockets."""
        self._ask("try private" if in_private else "try", "started", timeout_s)

    def run(self, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Starts what does not run, of `current`, and starts again what ends."""
        self._ask("run", "started", timeout_s)

    def beside(self, release: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Starts that release's process beside the app, at a private place. It is called `beside`
        when it exits, and is not started again."""
        self._ask(f"beside {release}", "started", timeout_s)

    def adopt(self, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Lets what runs beside be the app, under the name in `current`; what was it ends."""
        self._ask("adopt", "adopted", timeout_s)

    def drop(self) -> None:
        """Ends what runs beside."""
        self._say("drop")

    def hold(self) -> None:
        """Leaves all as it is; what ends from now on is not started again."""
        self._say("hold")

    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened since the last call; waits up to `timeout_s` if nothing has."""
        deadline = monotonic() + timeout_s
        while True:
            for line in self._lines(0 if self._events else deadline - monotonic()):
                self._note(line)
            if self._events or monotonic() >= deadline:
                events = list(self._events)
                self._events.clear()
                return events

    def _ask(self, goal: str, answer: str, timeout_s: float) -> None:
        for line in self._lines(0):
            self._note(line)  # an answer in here is one to an earlier question
        self._say(goal)
        deadline = monotonic() + timeout_s
        answered = False
        while not answered:
            remaining = deadline - monotonic()
            if remaining <= 0:
                raise SupervisorError(
                    f"The supervisor has not answered `{goal}` with `{answer}` within "
                    f"{timeout_s:g} seconds.",
                    next_step="Its messages say which process does not end.",
                )
            for line in self._lines(remaining):
                answered = answered or line == answer
                self._note(line)

    def _say(self, line: str) -> None:
        try:
            os.write(self.control_fd, _encoded(line))
        except OSError as error:
            raise _not_reached(str(error.strerror)) from None

    def _lines(self, timeout_s: float) -> list[str]:
        """The whole lines that are there, or come within the time. Never blocks for longer: the
        pipe's flags are shared with the supervisor, so they stay as they are."""
        poll = select.poll()
        poll.register(self.events_fd, select.POLLIN)
        if not poll.poll(max(timeout_s, 0) * 1000):
            return []
        try:
            received = os.read(self.events_fd, 4096)
        except OSError as error:
            raise _not_reached(str(error.strerror)) from None
        if not received:
            raise _not_reached("its pipe is closed")
        *lines, self._partial = (self._partial + received).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def _note(self, line: str) -> None:
        match line.split():
            case ["exit", name, code] if code.isdecimal():
                self._events.append(Exited(name, int(code)))
            case ["request"]:
                self._events.append(Requested())


def _not_reached(why: str) -> SupervisorError:
    return SupervisorError(
        f"The supervisor cannot be reached: {why}.",
        next_step="The engine is started by `surefoot run`, not by hand.",
    )


def _encoded(line: str) -> bytes:
    """One write of fewer than 512 bytes (PIPE_BUF at its least) is never mixed with another."""
    message = line.encode() + b"\n"
    if len(message) >= 512 or b"\n" in message[:-1]:
        raise ValueError(f"not one short line: {line!r}")
    return message
