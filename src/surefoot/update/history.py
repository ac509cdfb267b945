"""The audit trail: one line per event in `data/update_history.jsonl`, append-only.

A line that a crash has torn is skipped when read and ended when written after.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from surefoot import durable, stored
from surefoot.errors import DamagedError, SurefootError
from surefoot.stored import Moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.home import Home

# With one of these an update ends.
FINAL = frozenset({"committed", "abandoned", "rolled_back", "broken", "up_to_date", "refused"})

_APPENDING = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_IN_THE_WAY = {
    *(errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENOENT, errno.ENOTDIR),
    *(errno.EACCES, errno.EPERM),
}


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened to an update."""

    at: Moment
    update: str
    event: str
    text: str = ""
    """The same in a sentence, for people."""
    facts: dict[str, Any] = msgspec.field(default_factory=dict)


class History:
    """Appends to, and reads, the history of one home.

    What is appended is told to `echo` as well, a line for each event that has a text.
    """

    def __init__(self, home: Home, *, echo: TextIO | None = None) -> None:
        self._path = home.history
        self._echo = echo

    def append(
        self, update: str, event: str, text: str = "", *, lasting: bool = False, **facts: Any
    ) -> Event:
        """Adds a line; with `lasting` it is on the disk when this returns."""
        entry = Event(at=datetime.now(UTC), update=update, event=event, text=text, facts=facts)
        durable.make_folder(self._path.parent)
        descriptor = self._opened()
        try:
            line = msgspec.json.encode(entry) + b"\n"
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(descriptor, line)
            if lasting:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if self._echo is not None and text:
            with contextlib.suppress(OSError):  # whoever listened may have gone away
                self._echo.write(f"surefoot: {text}\n")
                self._echo.flush()
        return entry

    def append_once(self, update: str, event: str, text: str = "", **facts: Any) -> None:
        """Adds a lasting line unless this update already has this event: safe to repeat."""
        if any(e.update == update and e.event == event for e in self.read()):
            durable.sync_file(self._path)  # it may have been written, and not have lasted yet
        else:
            self.append(update, event, text, lasting=True, **facts)

    def read(self, offset: int = 0) -> Iterator[Event]:
        """Every event that can be read, oldest first, from a byte offset on."""
        for event, _ in self.follow(offset):
            yield event

    def follow(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Events with the offset behind each, for a reader that comes back for more."""
        try:
            file = os.fdopen(stored.open_file(self._path), "rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise SurefootError(
                f"The history {self._path} cannot be read: {error.strerror or error}.",
                next_step="The next update keeps it aside and begins a new one.",
            ) from None
        with file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                event = _decoded(line)
                if event is not None:
                    yield event, offset

    def size(self) -> int:
        """Where the next event will begin."""
        return _size(self._path)

    def _opened(self) -> int:
        """A descriptor to append by. What cannot be appended to is kept aside: the history must
        never be what an update, or putting it back, fails for."""
        try:
            descriptor = os.open(self._path, _APPENDING, 0o644)
        except OSError as error:
            if error.errno not in _IN_THE_WAY or not os.path.lexists(self._path):
                raise
        else:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
        self._path.rename(self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}"))
        durable.sync_folder(self._path.parent)
        return os.open(self._path, _APPENDING, 0o644)


def _decoded(line: bytes) -> Event | None:
    try:
        return stored.decode(line, Event, name="The event")
    except DamagedError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
