"""Who serves: the app, or the gate in its place.

The gate is closed before the app is ended, and opened once it has answered again, so whoever comes
is never refused; how many were answered by the gate, and who waited, goes into the update.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from surefoot.app import lockfile
from surefoot.app.maintenance import Answer, answer_for
from surefoot.app.pages import OwnPage
from surefoot.control import Exited
from surefoot.gate import GLANCE_S, Gate, Request, held_sockets
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.config import Config
    from surefoot.control import Processes
    from surefoot.home import Home
    from surefoot.update.lock import Update

PIPE_TIMEOUT_S = 30.0
"""How long the supervisor may take to answer, over the app's own grace."""
_LOOK_EVERY_S = 0.5


@dataclass
class Serving:
    """Of the app in one home, as long as this engine lives."""

    home: Home
    config: Config
    processes: Processes
    gate: Gate = field(init=False)
    has_seen_all: bool = field(init=False, default=False)
    """It was this engine that closed the gate, so it knows whom the gate has answered."""
    _is_stopped: bool = field(init=False, default=False)
    """The supervisor has said so, and has not been told to start anything since."""
    _page: OwnPage | None = field(init=False)
    _is_starting: bool = field(init=False, default=False)
    """What was started has not answered yet."""
    _turned_away: int = field(init=False, default=0)
    _waiting_since: datetime | None = field(init=False, default=None)
    """As in the update, which is told of it at the next occasion."""

    def __post_init__(self) -> None:
        page = self.config.gate.page
        self._page = OwnPage(str(self.home.root / page)) if page else None
        self.gate = Gate(held_sockets(), self._answer, self.config.gate.hold_s)

    def stop(self) -> None:
        """Closes the gate and ends every process of the app, unless that was done."""
        self.gate.close()
        if not self._is_stopped:
            self.processes.stop(self.config.app.stop_grace_s + PIPE_TIMEOUT_S)
            self._is_stopped = True
            self.gate.close()  # it mends what the app has done to the sockets at its end

    def attempt(self, *, in_private: bool) -> None:
        """Starts what is current, to be judged; the gate goes on answering until it does."""
        self._is_stopped, self._is_starting = False, True
        self.processes.attempt(PIPE_TIMEOUT_S, in_private=in_private)

    def run(self) -> None:
        """Starts what is current, for good."""
        self._is_stopped = False
        self.processes.run(PIPE_TIMEOUT_S)

    def note_answer(self) -> None:
        """What was started has answered, in private."""
        self._is_starting = False

    def open(self) -> None:
        """The app answers: the gate does not any more."""
        taken = self.gate.open()
        self._turned_away += taken
        if taken and self.has_seen_all:
            self._waiting_since = datetime.now(UTC) - timedelta(seconds=GLANCE_S)

    def with_turned_away(self, update: Update) -> Update:
        """With what the gate has seen until it was opened."""
        taken, self._turned_away = self._turned_away, 0
        return msgspec.structs.replace(
            update,
            turned_away=update.turned_away + taken,
            waiting_since=self._waiting_since or update.waiting_since,
        )

    def let_end_itself(self) -> None:
        """The app has asked for the update: it ends when it learns that all is ready."""
        deadline = time.monotonic() + self.config.app.stop_grace_s
        while time.monotonic() < deadline:
            events = self.processes.wait(0.5)
            if any(isinstance(event, Exited) for event in events):
                return

    def keep_closed(self, until: Callable[[], bool]) -> None:
        """Answers whoever comes, since no app may serve."""
        self.gate.close()
        while True:
            self.processes.wait(_LOOK_EVERY_S)
            if until():
                return

    def _answer(self, request: Request) -> Answer:
        language = request.headers.get("accept-language", "")
        try:
            lock = lockfile.read(str(self.home.root))
        except lockfile.LockUnreadable:
            lock = None
        lock = lock or lockfile.Lock("stopped")
        if self._is_starting and lock.state in lockfile.JUDGED_STATES:
            lock = replace(lock, state=State.MIGRATED)  # what follows is the start
        return answer_for(
            request.path,
            language,
            lock,
            self.config.gate.api,
            self._page,
        )
