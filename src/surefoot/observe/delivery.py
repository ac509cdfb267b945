"""Brings events to those who are told of them, in a process of its own.

The history is the queue: each adapter has its place in it, kept on the disk, and what was not
delivered is tried again, after a restart too. So an adapter that hangs, fails, floods or dies has
no means of delaying an update; that it failed is counted, and said.

The engine starts it when something is configured. It ends when there is nothing left to deliver.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec

from surefoot import control, durable, stored
from surefoot.errors import DamagedError, SurefootError
from surefoot.update import events
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from surefoot.home import Home

DEADLINE_S = 30.0
"""How long an adapter may take."""
EXPIRES = timedelta(hours=24)
"""What could not be delivered for so long is given up."""
NEWS = timedelta(minutes=5)
"""How far back an adapter begins that was not there before."""
BATCH = 500
_POLL_S = 0.5
_BACK_OFF_S = (2.0, 900.0)
_LONG_WAIT_S = 60.0
_HELD_BY_SHELL = 9
"""A descriptor; POSIX shells can name those below ten."""
_NOT_INHERITED = (
    *("SUREFOOT_MARK", "SUREFOOT_PROCESS", "SUREFOOT_ENGINE_CHILD"),  # or it would end with them
    "SUREFOOT_CONTROL_READY",
)


class Adapter(Protocol):
    """Brings events to one place outside."""

    name: str

    def wants(self, event: events.Event) -> bool: ...

    def not_before(
        self, found: Sequence[events.Event], last: datetime | None, now: datetime
    ) -> datetime:
        """When these may be sent, the last ones having been sent at `last`."""
        ...

    def send(self, found: Sequence[events.Event]) -> None:
        """Sends them; raises where it could not. Its message is said: no secret must be in it."""
        ...


class Place(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far an adapter is."""

    offset: int
    sent: int = 0
    """Events that were delivered."""
    failed: int = 0
    """Attempts that failed."""
    given_up: int = 0
    """Events that could not be delivered in time."""
    tries: int = 0
    """Attempts in a row that failed."""
    last: stored.Moment | None = None
    """When something was last delivered."""
    next_try: stored.Moment | None = None


def places(home: Home) -> dict[str, Place]:
    """How far each adapter is; empty where nothing was ever delivered."""
    try:
        return stored.load(home.delivered, dict[str, Place])
    except (FileNotFoundError, DamagedError):
        return {}


def start(home: Home, *, with_engine: bool) -> None:
    """Starts it beside us. With `with_engine` it also waits for what we are about to tell, until
    we have ended."""
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    command = [sys.executable, *_arguments(home)]
    reading, writing = os.pipe() if with_engine else (os.open(os.devnull, os.O_RDONLY), None)
    try:
        subprocess.Popen(command, env=environment, stdin=reading, start_new_session=True)
    except OSError as error:  # no memory, no processes: the update goes on
        sys.stderr.write(f"surefoot: Nobody can be told of events: {error}.\n")
    finally:
        os.close(reading)
    if writing is not None:
        _held.append(writing)


_held: list[int] = []
"""Open for as long as we live; then the other end learns that we have ended."""


@dataclass
class Courier:
    """Delivers the events of one home."""

    home: Home
    adapters: Sequence[Adapter]
    is_over: Callable[[float], bool]
    """Waits so many seconds at most; whether no engine tells more."""
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: T201
    deadline_s: float = DEADLINE_S
    _places: dict[str, Place] = field(default_factory=dict)

    def run(self) -> datetime | None:
        """Returns when all is delivered, or with the time at which there is more to do."""
        self._places = places(self.home)
        for place in self._places.values():
            place.next_try = None  # a new start is a new chance: the network may be back
        while True:
            over = self.is_over(_POLL_S)
            due = [when for adapter in self.adapters if (when := self._serve(adapter))]
            if over and not due:
                return None
            if (
                over
                and not control.is_running(self.home)
                and any(place.tries for place in self._places.values())
            ):
                return None  # the next start tries again
            if over and (min(due) - _now()).total_seconds() > _LONG_WAIT_S:
                return min(due)
            if over:
                time.sleep(_POLL_S)

    def _serve(self, adapter: Adapter) -> datetime | None:
        """Delivers what may be delivered; returns when there will be more to do."""
        place = self._place(adapter)
        found, end = self._pending(adapter, place)
        if not found:
            place.offset = end
            return None
        now = _now()
        when = adapter.not_before(found, place.last, now)
        if place.next_try is not None:
            when = max(when, place.next_try)
        if when > now:
            return when
        error = _within(self.deadline_s, lambda: adapter.send(found))
        if error is None:
            place.offset, place.last, place.next_try, place.tries = end, _now(), None, 0
            place.sent += len(found)
        else:
            first, most = _BACK_OFF_S
            delay_s = min(first * 2**place.tries, most)
            place.tries, place.failed = place.tries + 1, place.failed + 1
            place.next_try = _now() + timedelta(seconds=delay_s)
            self.say(
                f"surefoot: {adapter.name}: {len(found)} events could not be delivered ({error}); "
                f"tried again in {delay_s:.0f} s."
            )
        self._save()
        return place.next_try or (_now() if len(found) == BATCH else None)

    def _pending(self, adapter: Adapter, place: Place) -> tuple[list[events.Event], int]:
        """What is to be delivered, and the place behind it."""
        found: list[events.Event] = []
        end = place.offset
        with contextlib.suppress(SurefootError):  # it cannot be read now
            history = History(self.home)
            if place.offset > history.size():  # it was removed, and begun anew
                place.offset = 0
            oldest = _now() - EXPIRES
            for line, offset in history.follow(place.offset):
                event = events.of(line)
                if adapter.wants(event):
                    if event.at < oldest:
                        place.given_up += 1
                        place.offset = offset
                        continue
                    found.append(event)
                end = offset
                if len(found) == BATCH:
                    break
        return found, max(end, place.offset)

    def _place(self, adapter: Adapter) -> Place:
        if adapter.name not in self._places:
            news, begin = _now() - NEWS, 0
            with contextlib.suppress(SurefootError):
                for line, offset in History(self.home).follow():
                    if line.at >= news:
                        break
                    begin = offset
            self._places[adapter.name] = Place(offset=begin)
        return self._places[adapter.name]

    def _save(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: some may be told twice
            durable.write(self.home.delivered, msgspec.json.encode(self._places))


def deliver(home: Home, adapters: Sequence[Adapter]) -> None:
    """Delivers all that is told until whoever started us has ended, and what is left then."""
    os.nice(10)
    with _only_one(home):
        courier = Courier(home, adapters, _over)
        until = courier.run()
        courier._save()  # noqa: SLF001 - places move on without deliveries too
    if until is not None:
        _wait(home, max((until - _now()).total_seconds(), 1))
    os._exit(0)  # an adapter that hangs does not keep us


def _wait(home: Home, delay_s: float) -> None:
    """Becomes a shell, which waits in a hundredth of the memory, and then delivers anew.

    Whoever waits already knows less than we do, and is ended: there is one at most, however often
    the engine is started while nobody takes what is told.
    """
    descriptor = os.open(home.delivered.with_suffix(".waiting"), os.O_RDWR | os.O_CREAT)
    for _ in range(100):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # The lock is held, so the number is still theirs.
            with contextlib.suppress(ValueError, ProcessLookupError):
                os.killpg(int(os.pread(descriptor, 20, 0)), signal.SIGTERM)
            time.sleep(0.05)
        else:
            break
    else:
        return
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpgid(0)).encode(), 0)
    os.dup2(descriptor, _HELD_BY_SHELL)
    script = f'sleep {delay_s:.0f} && exec "$0" "$@" </dev/null {_HELD_BY_SHELL}>&-'
    os.execv("/bin/sh", ["sh", "-c", script, sys.executable, *_arguments(home)])  # noqa: S606


def _arguments(home: Home) -> list[str]:
    return ["-I", "-m", "surefoot", "deliver", "--home", str(home.root)]


def _over(patience_s: float) -> bool:
    """Whether the other end of our input is closed: whoever started us has ended."""
    readable, _, _ = select.select([0], [], [], patience_s)
    return bool(readable) and not os.read(0, 4096)


@contextlib.contextmanager
def _only_one(home: Home) -> Iterator[None]:
    """Waits until nobody else delivers: what they were about to miss is ours then."""
    durable.make_folder(home.delivered.parent)  # `surefoot run` starts us before anything else
    descriptor = os.open(home.delivered.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _within(deadline_s: float, send: Callable[[], None]) -> str | None:
    """What went wrong; None where it was sent in time."""
    outcome: list[str | None] = []

    def attempt() -> None:
        try:
            send()
        except Exception as error:
            outcome.append(str(error) if isinstance(error, SurefootError) else type(error).__name__)
        else:
            outcome.append(None)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(deadline_s)
    return outcome[0] if outcome else f"no answer within {deadline_s:.0f} s"


def _now() -> datetime:
    return datetime.now(UTC)
