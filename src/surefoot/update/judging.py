"""Asks the probes and lets the judge decide, in probation and in the watch after the commit."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self

from surefoot.control import Exited
from surefoot.health.judge import Judge, Observation, Policy, Standing, Verdict, Watch
from surefoot.health.probes import probes_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.control import Event
    from surefoot.health.probes import Probe

DEFAULT_WINDOW_S = 1.0
MIGRATED_WINDOW_S = 10.0
"""Behind the gate and after a migration: past the commit, data is never taken back."""
REHEARSED_WINDOW_S = 0.0
"""Behind the gate, where the app has been healthy on a copy before: with a migration too."""
EAGER_INTERVAL_S = 0.01
"""While users wait for nothing but the answer."""
WATCH_INTERVAL_S = 0.5
_NOTICED_WITHIN_S = 0.005


class Processes(Protocol):
    """The processes that are judged."""

    def wait(self, timeout_s: float) -> list[Event]:
        """What has happened since the last call; waits up to `timeout_s` if nothing has."""


@dataclass
class Judging:
    """Judges what runs now. Opened before the app is started, for READY=1 is said only once."""

    config: Config
    processes: Processes
    environment: dict[str, str]
    """Of the release that is judged, for a probe that is a command."""
    directory: Path
    notify_socket: Path | None
    token: str = ""
    over: Path | None = None
    """A Unix socket by which it is asked what the configuration says, as if by its address."""
    on_answer: Callable[[], None] = lambda: None
    """Called when it has answered, well or badly; more than once."""
    _probe: Probe = field(init=False)
    _open: ExitStack = field(init=False, default_factory=ExitStack)
    _prober: ThreadPoolExecutor = field(init=False)
    _asked: Future[Observation] | None = field(init=False, default=None)
    _is_told: bool = field(init=False, default=False)
    """Whether the judge knows the answer."""
    _has_answered: bool = field(init=False, default=False)
    """Well or badly: it is no longer waited for."""
    _next_s: float = field(init=False, default=0.0)
    """When the next question is due."""
    until_first_answer_s: float = field(init=False, default=0.0)
    """How long it took, from `judge` on, until the first good answer; or until the verdict."""

    def __enter__(self) -> Self:
        self._prober = ThreadPoolExecutor(1)
        self._probe = self._open.enter_context(
            probes_for(
                self.config.health,
                self.config.address(),
                token=self.token,
                environment=self.environment,
                notify_socket=self.notify_socket,
                directory=self.directory,
                over=self.over,
            )
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._prober.shutdown(wait=False, cancel_futures=True)
        self._open.close()

    def judge(self, *, migrated: bool, rehearsed: bool = False) -> Verdict:
        """Waits until the app that has been started is found healthy or unhealthy."""
        health = self.config.health
        window_s = health.window_s
        if window_s is None:
            window_s = MIGRATED_WINDOW_S if migrated else DEFAULT_WINDOW_S
            window_s = REHEARSED_WINDOW_S if rehearsed else window_s
        policy = Policy(deadline_s=health.deadline_s, successes=health.successes, window_s=window_s)
        begin_s = monotonic()
        judge = Judge(policy, begin_s)
        while (verdict := judge.verdict(monotonic())).standing is Standing.PENDING:
            eager = rehearsed or not self._has_answered
            self._look(judge, min(health.interval_s, EAGER_INTERVAL_S if eager else inf))
        well_since_s = monotonic() if judge.well_since_s is None else judge.well_since_s
        self.until_first_answer_s = well_since_s - begin_s
        return verdict

    def watch(self, duration_s: float, stop: Callable[[], bool]) -> Verdict:
        """Watches for some seconds after the commit; ends early when `stop` says so."""
        begin = monotonic()
        watch = Watch(begin)
        while (verdict := watch.verdict(monotonic())).standing is Standing.PENDING:
            if monotonic() - begin > duration_s or stop():
                break
            self._look(watch, WATCH_INTERVAL_S)
        return verdict

    def _look(self, judge: Judge | Watch, interval_s: float) -> None:
        """Tells the judge what has happened. A probe that hangs must not hide an exit: on a held
        socket, an app that has died lets the prober wait."""
        if self._asked is None:
            self._asked = self._prober.submit(self._observe)
            self._next_s = monotonic() + interval_s
            self._is_told = False
        pause_s = self._next_s - monotonic() if self._is_told else _NOTICED_WITHIN_S
        for event in self.processes.wait(max(pause_s, 0)):
            if isinstance(event, Exited):
                judge.exited(event.name, event.code, monotonic())
        if self._asked.done() and not self._is_told:
            seen = self._asked.result()
            judge.observe(seen)
            self._is_told = True
            self._has_answered = seen.answered
            if seen.answered or seen.healthy:
                self.on_answer()
        if self._is_told and monotonic() >= self._next_s:
            self._asked = None

    def _observe(self) -> Observation:
        outcome = self._probe.probe()
        return Observation(monotonic(), outcome.healthy, outcome.detail, outcome.answered)
