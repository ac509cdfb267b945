"""The judges. Pure: no I/O and no clock; they are told what was seen, and when.

In probation (`Judge`):

- The first good answer comes before the deadline, else the app is unhealthy.
- Healthy is what then gives `successes` good answers in a row, over at least `window_s`. A bad
  answer begins count and window anew. A server whose workers die one after another does not pass:
  more than MAX_RESETS such answers, or `deadline_s` + 2 * `window_s` without being well, is enough.
- An app that answers wrongly (another status than the configured ones) has started, and is not
  what was asked for: WRONG_ANSWERS in a row over WRONG_FOR_S seconds end it before the deadline.
  Silence, a refused connection and a 503 are what starting looks like: they may last until then.
- Whatever exits in probation has failed, with code 0 as well.

After the commit (`Watch`): an app that was healthy may stumble, but not for long and not often.

All times are seconds of one monotonic clock. The first decision stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

MAX_RESETS = 3
WRONG_ANSWERS = 10
WRONG_FOR_S = 5.0

WATCH_FAILURES = 5
WATCH_FAILING_FOR_S = 10.0
WATCH_CRASHES = 2
ENDINGS = frozenset({0, 10})
"""Exit codes after the commit that are no crash: a normal end, and asking for an update."""


class Standing(Enum):
    PENDING = "pending"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True)
class Verdict:
    standing: Standing
    reason: str
    """One sentence for the deployer."""


@dataclass(frozen=True)
class Policy:
    """What probation asks for."""

    deadline_s: float
    successes: int
    window_s: float


@dataclass(frozen=True)
class Observation:
    """What a probe has seen."""

    at_s: float
    healthy: bool
    detail: str
    answered: bool = False
    """Not healthy, but an answer, where silence or a 503 would say "not yet"."""


@dataclass
class _Streak:
    """Observations of one kind in a row."""

    count: int = 0
    begin_s: float = 0.0
    last_s: float = 0.0

    def add(self, at_s: float) -> None:
        if self.count == 0:
            self.begin_s = at_s
        self.count += 1
        self.last_s = at_s

    def clear(self) -> None:
        self.count = 0

    def lasts(self, count: int, duration_s: float) -> bool:
        return self.count >= max(count, 1) and self.last_s - self.begin_s >= duration_s


@dataclass
class Judge:
    """Judges an app in probation that was started at `started_at_s`."""

    policy: Policy
    started_at_s: float
    _good: _Streak = field(default_factory=_Streak)
    _wrong: _Streak = field(default_factory=_Streak)
    _resets: int = 0
    _ever_good: bool = False
    _last: str = "nothing was seen of it"
    _decision: Verdict | None = None

    def observe(self, seen: Observation) -> None:
        """Takes in what a probe has seen; in the order of time."""
        if self.verdict(seen.at_s).standing is not Standing.PENDING:
            return
        self._last = seen.detail
        if seen.healthy:
            self._see_good(seen)
        else:
            self._see_bad(seen)

    def exited(self, name: str, code: int, at_s: float) -> None:
        """A process of the app has ended."""
        if self.verdict(at_s).standing is Standing.PENDING:
            self._fail(f"The process `{name}` ended with exit code {code} while it was judged.")

    def verdict(self, now_s: float) -> Verdict:
        """PENDING until there is a decision, which then stands."""
        self._expire(now_s)
        if self._decision is not None:
            return self._decision
        if self._good.count:
            return Verdict(Standing.PENDING, f"{self._good.count} good answers so far.")
        return Verdict(Standing.PENDING, f"No good answer yet: {self._last}.")

    @property
    def well_since_s(self) -> float | None:
        """When the good answers in a row have begun; None while the last was none."""
        return self._good.begin_s if self._good.count else None

    def _see_good(self, seen: Observation) -> None:
        self._ever_good = True
        self._wrong.clear()
        self._good.add(seen.at_s)
        if self._good.lasts(self.policy.successes, self.policy.window_s):
            took = self._good.begin_s - self.started_at_s
            self._decision = Verdict(
                Standing.HEALTHY,
                f"Healthy: the first good answer came after {took:.1f} s, then "
                f"{self._good.count} in a row ({seen.detail}).",
            )

    def _see_bad(self, seen: Observation) -> None:
        if self._good.count:
            self._good.clear()
            self._resets += 1
            if self._resets > MAX_RESETS:
                self._fail(f"It became unhealthy again {self._resets} times: {seen.detail}.")
                return
        if not seen.answered:
            self._wrong.clear()
            return
        self._wrong.add(seen.at_s)
        if self._wrong.lasts(WRONG_ANSWERS, WRONG_FOR_S):
            self._fail(f"It answers, but wrongly, {self._wrong.count} times: {seen.detail}.")

    def _expire(self, now_s: float) -> None:
        if self._decision is not None:
            return
        elapsed_s = now_s - self.started_at_s
        deadline_s = self.policy.deadline_s
        if not self._ever_good:
            if elapsed_s > deadline_s:
                self._fail(f"There was no good answer within {deadline_s:g} s: {self._last}.")
            return
        limit_s = deadline_s + 2 * self.policy.window_s
        if self._good.count:
            limit_s += deadline_s  # it is well now: slow probes get the time to say so
        if elapsed_s > limit_s:
            self._fail(f"It was not healthy for long enough within {limit_s:g} s: {self._last}.")

    def _fail(self, reason: str) -> None:
        self._decision = Verdict(Standing.UNHEALTHY, reason)


@dataclass
class Watch:
    """Watches an app after the commit, until the caller has seen enough: never HEALTHY by itself.

    Fails after WATCH_FAILURES bad answers in a row over at least WATCH_FAILING_FOR_S, or at
    WATCH_CRASHES crashes.
    """

    started_at_s: float
    _bad: _Streak = field(default_factory=_Streak)
    _crashes: int = 0
    _decision: Verdict | None = None

    def observe(self, seen: Observation) -> None:
        if self._decision is not None:
            return
        if seen.healthy:
            self._bad.clear()
            return
        self._bad.add(seen.at_s)
        if self._bad.lasts(WATCH_FAILURES, WATCH_FAILING_FOR_S):
            spent = self._bad.last_s - self._bad.begin_s
            self._decision = Verdict(
                Standing.UNHEALTHY,
                f"It stopped being healthy, for {spent:.0f} s after the commit: {seen.detail}.",
            )

    def exited(self, name: str, code: int, at_s: float) -> None:
        """A process has ended; with 0 or 10 it meant to."""
        if self._decision is not None or code in ENDINGS:
            return
        self._crashes += 1
        if self._crashes >= WATCH_CRASHES:
            after_s = at_s - self.started_at_s
            self._decision = Verdict(
                Standing.UNHEALTHY,
                f"It crashed {self._crashes} times within {after_s:.0f} s of the commit, "
                f"at last the process `{name}` with exit code {code}.",
            )

    def verdict(self, now_s: float) -> Verdict:
        if self._decision is not None:
            return self._decision
        watched_s = now_s - self.started_at_s
        return Verdict(Standing.PENDING, f"Nothing was wrong for {watched_s:.0f} s.")
