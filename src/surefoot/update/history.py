"""The audit trail: one line per event in `data/update_history.jsonl`, append-only.

- A line that a crash has torn is skipped when read and ended when written after.
- A file that has become large is closed by renaming it to `update_history.OFFSET.jsonl`: where it
  begins, counted over all files. So an offset means the same line for as long as it is kept, and
  nothing but the names is needed to know where each file begins.
- Whoever reads holds one line at a time, and no line beyond a limit.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import stat
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from surefoot import durable, stored
from surefoot.errors import DamagedError, SurefootError
from surefoot.stored import Moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from surefoot.home import Home

# With one of these an update ends.
FINAL = frozenset({"committed", "abandoned", "rolled_back", "broken", "up_to_date", "refused"})

FILE_BYTES = 4 * 1024 * 1024
"""A file that has reached this size is closed: some hundred updates."""
KEPT_FILES = 8
"""Closed files that are kept; the oldest goes first."""
LINE_BYTES = 256 * 1024
"""A longer line is not read, and is cut when written."""
RECENT_BYTES = 1024 * 1024
"""How far back an event of the running update, or of a request that was just answered, can lie."""

_BLOCK_BYTES = 64 * 1024
_CUT_CHARACTERS = 4000
_PATIENCE_S = 1.0
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
        line = _encoded(entry)
        durable.make_folder(self._path.parent)
        descriptor = self._held()
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            os.write(descriptor, line)
            if lasting:
                os.fsync(descriptor)
                durable.sync_folder(self._path.parent)  # it may be new, made for a line before
        finally:
            os.close(descriptor)
        if self._echo is not None and text:
            _say(self._echo, text)
        return entry

    def append_once(self, update: str, event: str, text: str = "", **facts: Any) -> None:
        """Adds a lasting line unless this update already has this event: safe to repeat."""
        if any(e.event == event for e in self._recent(update)):
            durable.sync_file(self._path)  # it may have been written, and not have lasted yet
            durable.sync_folder(self._path.parent)
        else:
            self.append(update, event, text, lasting=True, **facts)

    def has_ended(self, update: str) -> bool:
        """Whether this update, or a request of that name, was answered a short time ago."""
        return any(event.event in FINAL for event in self._recent(update))

    def read(self, offset: int = 0) -> Iterator[Event]:
        """Every event that can be read, oldest first, from an offset on."""
        for event, _ in self.follow(offset):
            yield event

    def follow(self, offset: int = 0) -> Iterator[tuple[Event, int]]:
        """Events with the offset behind each, for a reader that comes back for more.

        An offset before the oldest file that is kept means its beginning.
        """
        for file, part in self._files(offset):
            with file:
                begin = max(offset, part.begin)
                file.seek(begin - part.begin)
                for line, end in _lines(file):
                    event = _decoded(line)
                    if event is not None:
                        yield event, part.begin + end

    def newest(self) -> Iterator[Event]:
        """Every event that can be read, newest first."""
        for line in self._backwards():
            event = _decoded(line)
            if event is not None:
                yield event

    def of(self, update: str) -> list[Event]:
        """All that is known of one update, oldest first."""
        found = []
        for event in self.newest():
            if event.update == update:
                found.append(event)
                if event.event == "requested":
                    break
        return found[::-1]

    def size(self) -> int:
        """Where the next event will begin."""
        parts = self._parts()
        begin = parts[-1].end if parts else 0
        return begin + _size(self._path)

    # -- reading

    def _recent(self, update: str) -> Iterator[Event]:
        """The events of an update that is in flight or has just ended, newest first."""
        for line in self._backwards(RECENT_BYTES):
            event = _decoded(line)
            if event is not None and event.update == update:
                yield event
                if event.event == "requested":
                    return

    def _files(self, offset: int = 0) -> Iterator[tuple[BinaryIO, _Part]]:
        """The files that reach beyond an offset, open, oldest first."""
        live = self._open(self._path)
        try:
            status = os.fstat(live.fileno()) if live else None
            parts = self._parts()
            is_closed = status is not None and any(p.inode == status.st_ino for p in parts)
            for part in parts:
                if part.end > offset and (file := self._open(part.path)):
                    yield file, part
            if live and status and not is_closed:
                begin = parts[-1].end if parts else 0
                file, live = live, None
                yield file, _Part(self._path, begin, status.st_size, status.st_ino)
        finally:
            if live:
                live.close()

    def _backwards(self, limit_bytes: int | None = None) -> Iterator[bytes]:
        """The lines, last one first, as far back as `limit_bytes`."""
        with contextlib.ExitStack() as stack:
            files = [(stack.enter_context(file), part) for file, part in self._files()]
            for file, part in reversed(files):
                begin = 0 if limit_bytes is None else max(part.size_bytes - limit_bytes, 0)
                yield from _lines_backwards(file.fileno(), begin, part.size_bytes)
                if limit_bytes is not None:
                    limit_bytes -= part.size_bytes - begin

    def _parts(self) -> list[_Part]:
        """The closed files, oldest first."""
        found = []
        for path in self._path.parent.glob(f"{self._path.stem}.[0-9]*{self._path.suffix}"):
            begin = path.name.split(".")[1]
            with contextlib.suppress(OSError):  # it was removed meanwhile
                status = path.stat()
                if begin.isdecimal() and stat.S_ISREG(status.st_mode):
                    found.append(_Part(path, int(begin), status.st_size, status.st_ino))
        return sorted(found, key=lambda part: part.begin)

    def _open(self, path: Path) -> BinaryIO | None:
        try:
            return os.fdopen(stored.open_file(path), "rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SurefootError(
                f"The history {path} cannot be read: {error.strerror or error}.",
                next_step="The next update keeps it aside and begins a new one.",
            ) from None

    # -- writing

    def _held(self) -> int:
        """A descriptor to append by, which nobody else appends by for as long as it is open."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            descriptor = self._opened()
            held = _locked(descriptor, deadline)
            status = os.fstat(descriptor)
            if not _is_at(self._path, status):  # closed, or kept aside, while we waited
                os.close(descriptor)
            elif status.st_size < FILE_BYTES or not (held and self._close_file(status.st_size)):
                return descriptor
            else:
                os.close(descriptor)

    def _close_file(self, size_bytes: int) -> bool:
        """Gives the file the name under which it is kept, and removes what is too old."""
        parts = self._parts()
        begin = parts[-1].end if parts else 0
        kept = self._path.with_name(f"{self._path.stem}.{begin:015}{self._path.suffix}")
        try:
            if os.path.lexists(kept):
                return False
            durable.sync_file(self._path)  # all of it: the next one begins where it ends
            self._path.rename(kept)
            durable.sync_folder(self._path.parent)
            for part in [*parts, _Part(kept, begin, size_bytes, 0)][:-KEPT_FILES]:
                part.path.unlink(missing_ok=True)
        except OSError:  # it only grows on
            return not os.path.lexists(self._path)
        return True

    def _opened(self) -> int:
        """A descriptor of the file. What cannot be appended to is kept aside: the history must
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
        return os.open(self._path, _APPENDING, 0o644)


@dataclass(frozen=True)
class _Part:
    """A file of the history, and the offset at which it begins."""

    path: Path
    begin: int
    size_bytes: int
    inode: int

    @property
    def end(self) -> int:
        return self.begin + self.size_bytes


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Whole lines from here on, with the place behind each."""
    end = file.tell()
    while line := file.readline(LINE_BYTES):
        is_cut = False
        size = len(line)
        while not line.endswith(b"\n"):
            line = file.readline(LINE_BYTES)
            if not line:
                return
            is_cut = True
            size += len(line)
        end += size
        yield (b"" if is_cut else line), end


def _lines_backwards(descriptor: int, begin: int, end: int) -> Iterator[bytes]:
    """Whole lines between two places in a file, the last one first."""
    rest, is_cut, position, is_last = b"", False, end, True
    while position > begin:
        size = min(_BLOCK_BYTES, position - begin)
        position -= size
        rest, *lines = (os.pread(descriptor, size, position) + rest).split(b"\n")
        if is_cut and lines:
            lines[-1], is_cut = b"", False
        if is_last and lines:  # what has no end was torn, or is being written
            lines[-1], is_last = b"", False
        yield from (line for line in reversed(lines) if 0 < len(line) < LINE_BYTES)
        if is_cut or len(rest) > LINE_BYTES:
            rest, is_cut = b"", True
    if begin == 0 and rest and not is_cut and not is_last:
        yield rest


def _encoded(entry: Event) -> bytes:
    """The line; of what is too long, facts are cut first."""
    line = msgspec.json.encode(entry)
    if len(line) >= LINE_BYTES:
        facts = {
            key: value[-_CUT_CHARACTERS:] if isinstance(value, str) else value
            for key, value in entry.facts.items()
        }
        facts = {k: v for k, v in facts.items() if len(msgspec.json.encode(v)) < LINE_BYTES // 8}
        text = entry.text[:_CUT_CHARACTERS]
        line = msgspec.json.encode(msgspec.structs.replace(entry, text=text, facts=facts))
    return line + b"\n"


def _decoded(line: bytes) -> Event | None:
    try:
        return stored.decode(line, Event, name="The event")
    except DamagedError:
        return None


def _locked(descriptor: int, deadline: float) -> bool:
    """Waits for whoever else appends; not for ever, because an update waits as well."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_at(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), status)
    except OSError:
        return False


def _say(stream: TextIO, text: str) -> None:
    """Tells whoever listens; who does not read what was said is not waited for."""
    with contextlib.suppress(OSError, ValueError):  # they may have gone away
        descriptor = stream.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        if any(happened & select.POLLOUT for _, happened in poll.poll(0)):
            line = f"surefoot: {text}\n".encode(errors="replace")
            os.write(descriptor, line[: select.PIPE_BUF])  # so much fits into a pipe


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
