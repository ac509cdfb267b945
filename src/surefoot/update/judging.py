"""Asks the probes and lets the judge decide, in probation and in the watch after the commit."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from surefoot.control import Exited
from surefoot.health.judge import Judge, Observation, Policy, Standing, Verdict, Watch
from surefoot.health.probes import probes_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.control import Processes
    from surefoot.health.probes import Probe

DEFAULT_WINDOW_S = 1.0
MIGRATED_WINDOW_S = 10.0
"""Behind the gate and after a migration: past the commit, data is never taken back."""
WATCH_INTERVAL_S = 0.5


@dataclass
class Judging:
    """Judges what runs now."""

    config: Config
    processes: Processes
    environment: dict[str, str]
    """Of the release that is judged, for a probe that is a command."""
    notify_socket: Path | None

    def judge(self, *, token: str, migrated: bool) -> Verdict:
        """Waits until the app that has been started is found healthy or unhealthy."""
        health = self.config.health
        window = health.window_s
        if window is None:
            window = MIGRATED_WINDOW_S if migrated else DEFAULT_WINDOW_S
        policy = Policy(deadline_s=health.deadline_s, successes=health.successes, window_s=window)
        judge = Judge(policy, monotonic())
        with probes_for(
            health,
            self.config.address(),
            token=token,
            environment=self.environment,
            notify_socket=self.notify_socket,
        ) as probe:
            while (verdict := judge.verdict(monotonic())).standing is Standing.PENDING:
                for event in self.processes.wait(health.interval_s):
                    if isinstance(event, Exited):
                        judge.exited(event.name, event.code, monotonic())
                judge.observe(self._observe(probe))
        return verdict

    def watch(self, duration_s: float, stop: Callable[[], bool]) -> Verdict:
        """Watches for some seconds after the commit; ends early when `stop` says so."""
        begin = monotonic()
        watch = Watch(begin)
        with probes_for(
            self.config.health,
            self.config.address(),
            token="",
            environment=self.environment,
            notify_socket=None,
        ) as probe:
            while monotonic() - begin < duration_s and not stop():
                for event in self.processes.wait(WATCH_INTERVAL_S):
                    if isinstance(event, Exited):
                        watch.exited(event.name, event.code, monotonic())
                watch.observe(self._observe(probe))
                verdict = watch.verdict(monotonic())
                if verdict.standing is Standing.UNHEALTHY:
                    return verdict
        return Verdict(Standing.HEALTHY, "It went on being healthy.")

    @staticmethod
    def _observe(probe: Probe) -> Observation:
        outcome = probe.probe()
        return Observation(monotonic(), outcome.healthy, outcome.detail, outcome.answered)
