"""What is counted of the events; pure. The metrics say it in Prometheus' words."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from surefoot.update import events
from surefoot.update.causes import Cause

if TYPE_CHECKING:
    from datetime import datetime

STEP_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
STAGING_BUCKETS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
WINDOW_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 1800.0)

NOT_STEPS = frozenset({"stage", "window", "longest_wait"})
"""Durations that have metrics of their own."""


@dataclass
class Histogram:
    """How often a duration was in each bucket, as Prometheus counts it."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """The upper bound of each bucket, and how many were at most that long."""
        found, total = [], 0
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        for name, count in zip(names, self.counts, strict=True):
            total += count
            found.append((name, float(total)))
        return found


@dataclass
class Tally:
    """Counts events as they are added, oldest first."""

    checks: Counter[str] = field(default_factory=Counter)
    """By outcome: up_to_date, refused, update, failed."""
    updates: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By kind and outcome."""
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By outcome and cause."""
    rollbacks: Counter[str] = field(default_factory=Counter)
    """By cause; before the commit, and after it."""
    crash_loops: int = 0
    steps: dict[str, Histogram] = field(default_factory=dict)
    staging: Histogram = field(default_factory=lambda: Histogram(STAGING_BUCKETS))
    downtime: Histogram = field(default_factory=lambda: Histogram(WINDOW_BUCKETS))
    waits: Histogram = field(default_factory=lambda: Histogram(WINDOW_BUCKETS))
    last: str = ""
    """How the last update ended; a rollback after the commit counts as `rolled_back`."""
    last_at: dict[str, datetime] = field(default_factory=dict)
    """When something last happened: an outcome, `check` (the source answered), `crash_loop`."""

    def add(self, event: events.Event) -> None:
        match event:
            case events.Checked():
                self._check(event, event.outcome)
            case events.UpToDate():
                self._answered(event)
            case events.Requested():
                self._answered(event)
                if event.origin == "schedule":
                    self._check(event, "update")
            case events.Abandoned() if event.to is None and event.origin == "schedule":
                self.checks["failed"] += 1
            case events.Ended():
                self._ended(event)
            case events.Crashing():
                self.crash_loops += 1
                self.last_at["crash_loop"] = event.at

    def _check(self, event: events.Event, outcome: str) -> None:
        self.checks[outcome] += 1
        self._answered(event)

    def _answered(self, event: events.Event) -> None:
        self.last_at["check"] = event.at

    def _ended(self, event: events.Ended) -> None:
        outcome = event.name
        self.updates[event.kind, outcome] += 1
        cause = event.cause or Cause.UNKNOWN
        if outcome != "committed":
            self.failures[outcome, cause] += 1
        if outcome == "rolled_back" or (outcome == "committed" and event.kind == "rollback"):
            self.rollbacks[cause] += 1
        if outcome == "committed" and event.origin == "watch":
            outcome = "rolled_back"  # of the update whose release failed after its commit
        self.last = outcome
        self.last_at[outcome] = event.at
        self._durations(event)

    def _durations(self, event: events.Ended) -> None:
        spent = event.durations
        for name, seconds in spent.items():
            if name not in NOT_STEPS:
                self.steps.setdefault(name, Histogram(STEP_BUCKETS)).add(seconds)
        for name, histogram in (
            ("stage", self.staging), ("window", self.downtime), ("longest_wait", self.waits)
        ):  # fmt: skip
            if name in spent:
                histogram.add(spent[name])
