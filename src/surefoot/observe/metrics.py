"""Metrics for Prometheus, computed when they are asked for: from history, lock and disk.

Nothing has to run in between, and nothing is counted twice: the history is where it was counted.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from surefoot import __version__, config, control
from surefoot.databases import database
from surefoot.errors import SurefootError
from surefoot.observe import delivery
from surefoot.observe.tally import Histogram, Tally
from surefoot.releases.store import Store
from surefoot.update import events, room
from surefoot.update.causes import Cause
from surefoot.update.history import History
from surefoot.update.lock import Lock
from surefoot.update.remembered import seen_ledger
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from surefoot.config import Config
    from surefoot.home import Home
    from surefoot.update.lock import Update

KINDS = ("update", "rollback", "restore")
OUTCOMES = ("committed", "abandoned", "rolled_back", "broken")
CHECKS = ("up_to_date", "update", "refused", "failed")
_SHARE = 0.05
"""Of the time, at most, is spent on measuring what is on the disk."""
_READ_BYTES = 1024 * 1024


def exposition(home: Home) -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(registry(home))


def registry(home: Home) -> CollectorRegistry:
    """The metrics of one home, and nothing else."""
    found = CollectorRegistry()
    found.register(HomeCollector(home))
    return found


@dataclass(eq=False)  # a registry keeps it by its identity
class HomeCollector(Collector):
    """Looks at one home whenever it is asked; of the history it reads only what is new."""

    home: Home
    _tally: Tally = field(default_factory=Tally)
    _offset: int = 0
    _sizes: list[Metric] = field(default_factory=list)
    _sizes_until_s: float = 0.0
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> Iterator[Metric]:
        with self._busy:
            self._read()
            found = [*self._counted(), *self._timed(), *self._state(), *self._disk()]
        yield from found

    def describe(self) -> Iterator[Metric]:
        """Nothing: a registry needs not look at the disk when it is made."""
        return iter(())

    def _read(self) -> None:
        history = History(self.home)
        if self._offset > history.size():  # it was removed, and begun anew
            self._tally, self._offset = Tally(), 0
        for line, offset in history.follow(self._offset):
            self._tally.add(events.of(line))
            self._offset = offset

    def _counted(self) -> Iterator[Metric]:
        tally = self._tally
        checks = _counter("surefoot_checks", "Looks for a new release by the timer.", "outcome")
        for outcome in CHECKS:
            checks.add_metric([outcome], tally.checks[outcome])
        yield checks
        updates = _counter("surefoot_updates", "Updates that have ended.", "kind", "outcome")
        for kind in KINDS:
            for outcome in OUTCOMES:
                updates.add_metric([kind, outcome], tally.updates[kind, outcome])
        yield updates
        failures = _counter(
            "surefoot_update_failures", "Updates without a commit, by why.", "outcome", "cause"
        )
        for (outcome, cause), count in sorted(tally.failures.items()):
            failures.add_metric([outcome, cause], count)
        yield failures
        rollbacks = _counter(
            "surefoot_rollbacks", "Goings back, before a commit or after it, by why.", "cause"
        )
        for cause in Cause:
            rollbacks.add_metric([cause], tally.rollbacks[cause])
        yield rollbacks
        loops = _counter("surefoot_crash_loops", "Crashing again and again, each third crash.")
        loops.add_metric([], tally.crash_loops)
        yield loops
        crashes = _counter(
            "surefoot_crashes", "Crashes since the supervisor was started.", "process"
        )
        for name, count in sorted(self._crashes().items()):
            crashes.add_metric([name], count)
        yield crashes
        yield from self._delivered()

    def _delivered(self) -> Iterator[Metric]:
        failures = _counter(
            "surefoot_delivery_failures", "Attempts to tell of events that failed.", "adapter"
        )
        given_up = _counter(
            "surefoot_undelivered_events", "Events that could not be told in time.", "adapter"
        )
        for name, place in sorted(delivery.places(self.home).items()):
            failures.add_metric([name], place.failed)
            given_up.add_metric([name], place.given_up)
        yield failures
        yield given_up

    def _crashes(self) -> Counter[str]:
        """A line for each, written by the supervisor."""
        loaded = self._config()
        found = Counter(dict.fromkeys(loaded.app.commands() if loaded else (), 0))
        try:
            with (self.home.run / "crashes").open(encoding="utf-8", errors="replace") as file:
                known = set(found)
                for line in iter(lambda: file.readline(_READ_BYTES), ""):
                    if (name := line.strip()) in known:
                        found[name] += 1
        except OSError:
            pass
        return found

    def _timed(self) -> Iterator[Metric]:
        tally = self._tally
        steps = HistogramMetricFamily(
            "surefoot_step_duration_seconds", "Time spent in a step of an update.", labels=["step"]
        )
        for name, histogram in sorted(tally.steps.items()):
            steps.add_metric([name], histogram.buckets(), histogram.sum_s)
        yield steps
        for name, what, histogram in (
            ("staging_duration", "Fetch, build, backup and rehearsal.", tally.staging),
            ("downtime", "How long an update kept the app away.", tally.downtime),
            ("longest_wait", "What a client may have waited in an update.", tally.waits),
        ):
            yield _histogram(f"surefoot_{name}_seconds", what, histogram)
        last = GaugeMetricFamily(
            "surefoot_last_timestamp_seconds",
            "When this last happened: an outcome, check (the source answered), crash_loop.",
            labels=["what"],
        )
        for name, at in sorted(tally.last_at.items()):
            last.add_metric([name], at.timestamp())
        yield last
        yield StateSetMetricFamily(
            "surefoot_last_update",
            "How the last update ended.",
            {outcome: outcome == tally.last for outcome in OUTCOMES},
        )

    def _state(self) -> Iterator[Metric]:
        yield InfoMetricFamily("surefoot_build", "This Surefoot.", {"version": __version__})
        runs = control.is_running(self.home)
        yield _gauge("surefoot_supervisor_running", "Whether the supervisor runs.", float(runs))
        update, is_damaged = self._in_flight()
        state = update.state if update else None
        yield StateSetMetricFamily(
            "surefoot_update_state",
            "The state of the update in flight; none without one.",
            {"none": state is None and not is_damaged, "damaged": is_damaged}
            | {str(s): s is state for s in State},
        )
        if update is not None:
            yield _gauge(
                "surefoot_update_begun_timestamp_seconds",
                "When the update in flight was begun.",
                update.requested_at.timestamp(),
            )
        store = Store(self.home)
        current = store.current_id()
        if current is not None:
            try:
                release = store.get(current)
            except SurefootError:
                release = None
            facts = {"release": current, "ref": release.ref if release else ""}
            yield InfoMetricFamily("surefoot_release", "The release in use.", facts)
        ledger, _ = seen_ledger(self.home)
        denied = float(len(ledger.denied))
        yield _gauge("surefoot_denied_releases", "Releases that are not tried again.", denied)
        if loaded := self._config():
            interval_s = loaded.update.interval_s if loaded.update.auto else 0.0
            yield _gauge(
                "surefoot_check_interval_seconds",
                "How often the source is asked; 0 for never.",
                interval_s,
            )

    def _in_flight(self) -> tuple[Update | None, bool]:
        try:
            return Lock(self.home).read(), False
        except SurefootError:
            return None, True

    def _disk(self) -> list[Metric]:
        begin_s = monotonic()
        if begin_s >= self._sizes_until_s:
            self._sizes = list(self._measured())
            end_s = monotonic()
            self._sizes_until_s = end_s + (end_s - begin_s) / _SHARE
        return self._sizes

    def _measured(self) -> Iterator[Metric]:
        free = shutil.disk_usage(self.home.root).free
        yield _gauge("surefoot_disk_free_bytes", "Room on the home's disk.", free)
        used = GaugeMetricFamily(
            "surefoot_disk_used_bytes", "What Surefoot keeps on the disk.", labels=["what"]
        )
        for what, folder in (
            ("releases", self.home.releases), ("environments", self.home.environments),
            ("source", self.home.mirror), ("backups", self.home.backups),
        ):  # fmt: skip
            used.add_metric([what], room.size_of(folder))
        yield used
        if loaded := self._config():
            try:
                databases = [
                    database.of(name, settings, self.home.root)
                    for name, settings in loaded.database.items()
                ]
                needed = sum(room.needed(self.home, Store(self.home), databases).values())
            except (SurefootError, OSError):
                return
            yield _gauge(
                "surefoot_disk_needed_bytes", "Room that the next update may need.", needed
            )

    def _config(self) -> Config | None:
        try:
            return config.load(self.home.root)
        except SurefootError:
            return None


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, what, labels=labels)


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value)


def _histogram(name: str, what: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, what, buckets=histogram.buckets(), sum_value=histogram.sum_s)
