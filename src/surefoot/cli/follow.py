"""Follows an update through its history, for as long as somebody wants to watch.

The update runs in the supervisor's engine. Whoever follows it can go away at any time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from surefoot import control
from surefoot.errors import ExitCode, NotRunningError, SurefootError
from surefoot.update import requests
from surefoot.update.history import FINAL, History
from surefoot.update.lock import is_engine_at_work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from surefoot.home import Home
    from surefoot.update.history import Event
    from surefoot.update.requests import Request

LOOK_INTERVAL_S = 0.05
RUNNING_INTERVAL_S = 1.0
VANISHED_AFTER_S = 10.0
"""How long the supervisor may be away: it is away while a container is started anew."""
OVERLOOKED_AFTER_S = 3.0
"""How long a request may wait while no engine is at work, until the supervisor is woken again."""
IGNORED_AFTER_S = 30.0
"""The same, until it is given up."""

EXIT_CODES = {
    "requested": ExitCode.OK,
    "staged": ExitCode.OK,
    "committed": ExitCode.OK,
    "up_to_date": ExitCode.OK,
    "refused": ExitCode.REFUSED,
    "abandoned": ExitCode.ABANDONED,
    "rolled_back": ExitCode.ROLLED_BACK,
    "broken": ExitCode.BROKEN,
}
"""What the command ends with, by the event that it waited for."""


class TimedOutError(SurefootError):
    """The time that somebody wanted to wait has passed."""

    exit_code = ExitCode.TIMED_OUT


@dataclass
class Follower:
    """Reads the events of one request from where the history ended before it."""

    home: Home
    request: Request
    offset: int
    timeout_s: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """What the events have said so far; the newest word counts."""

    def events(
        self, until: frozenset[str], idle: Callable[[], None] = lambda: None
    ) -> Iterator[Event]:
        """Every event up to the first that is final or in `until`, as it comes.

        `idle` is called while nothing happens. Raises TimedOutError, and NotRunningError when the
        supervisor has been away for some seconds; the update is not touched by either.
        """
        until |= FINAL
        history = History(self.home)
        begin = time.monotonic()
        watch = _Watch(self.home, self.request)
        while True:
            for event, offset in history.follow(self.offset):
                self.offset = offset
                if event.update != self.request.id:
                    continue
                self.facts |= event.facts
                watch.heard = True
                yield event
                if event.event in until:
                    return
            if self.timeout_s is not None and time.monotonic() - begin > self.timeout_s:
                raise TimedOutError(
                    f"The update has not ended within {self.timeout_s:g} seconds; it goes on.",
                    next_step="See it with `surefoot status`.",
                )
            watch.look()
            idle()
            time.sleep(LOOK_INTERVAL_S)


@dataclass
class _Watch:
    """Notices that the supervisor is gone, and wakes it again when it is back."""

    home: Home
    request: Request
    looked: float = 0.0
    seen: float = field(default_factory=time.monotonic)
    heard: bool = False
    """Whether there was any event: what was taken up has one."""
    busy: float = field(default_factory=time.monotonic)
    """When an engine was last seen at work."""

    def look(self) -> None:
        now = time.monotonic()
        if now - self.looked < RUNNING_INTERVAL_S:
            return
        self.looked = now
        if control.is_running(self.home):
            if now - self.seen > 2 * RUNNING_INTERVAL_S and self._is_waiting():
                control.send(self.home, "update")
            self.seen = now
            self._look_at_engine(now)
        elif now - self.seen > VANISHED_AFTER_S:
            raise self._vanished()

    def _look_at_engine(self, now: float) -> None:
        """The engine may have been killed before it took up the request, or cannot be started."""
        if self.heard or is_engine_at_work(self.home):
            self.busy = now
        elif now - self.busy <= IGNORED_AFTER_S:
            if now - self.busy > OVERLOOKED_AFTER_S and self._is_waiting():
                control.send(self.home, "update")
        else:
            requests.withdraw(self.home, self.request)
            raise SurefootError(
                "The request is not taken up, and nothing was changed: the engine does not work.",
                next_step="The supervisor's messages say why; so may `surefoot doctor`.",
            )

    def _is_waiting(self) -> bool:
        found = requests.waiting(self.home)
        return found is not None and found.id == self.request.id

    def _vanished(self) -> NotRunningError:
        if self._is_waiting():
            requests.withdraw(self.home, self.request)
            return NotRunningError(
                "The supervisor has ended before it took up the request, which is withdrawn.",
                next_step="Start it with `surefoot run`, and ask again.",
            )
        return NotRunningError(
            "The supervisor has ended meanwhile; the update goes on at its next start.",
            next_step="Start it with `surefoot run`.",
        )
