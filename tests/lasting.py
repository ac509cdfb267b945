"""Whether what somebody has done to files is still there after a power cut.

Looked at from outside: whatever is new below a folder, or other than before, must have been
flushed, and every folder in which a name has come or gone. A file must be flushed before a rename
gives it a name that somebody else may know. What nobody minds when it comes or goes is left out:
what is being removed, locks, caches, and what SQLite makes for its readers.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEMPORARY = re.compile(r"\.gone(/|$)|\.lock$|/\.building$|/\.cache/[^/]+$|-shm$")
_watchers: list[_Watcher] = []


@dataclass(frozen=True)
class _Entry:
    what: str
    inode: int
    content: object = None
    sites: frozenset[str] = frozenset()


class _Watcher:
    """The flushes of this process, and what undoes them: a change since."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.log: list[_Entry] = []
        self.at_begin = _seen(root)
        self.at_end: dict[str, tuple[int, object]] = {}

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE:
            self._changes(arguments[0])
        elif event == "os.rename":
            source, target = map(os.fsdecode, arguments[:2])
            self._is_renamed(source)
            self._names(source, target)
        elif event == "os.mkdir":
            if not os.path.lexists(arguments[0]):
                self._names(arguments[0])
        elif event in {"os.remove", "os.rmdir"}:
            self._names(arguments[0])
        elif event in {"os.link", "os.symlink"}:
            self._names(arguments[1])

    def flushes(self, status: os.stat_result) -> None:
        is_file = stat.S_ISREG(status.st_mode)
        content = _state(status)[1] if is_file else None
        self.log.append(_Entry("flushed", status.st_ino, content, sites=_sites()))

    def wrong(self, *, without: str = "") -> str:
        """What would not be there after a power cut; `without` the flushes from a place in the
        source."""
        flushed: dict[int, object] = {}
        changed: set[int] = set()
        for entry in self.log:
            if entry.what == "flushed" and without not in entry.sites:
                flushed[entry.inode] = entry.content
                changed.discard(entry.inode)
            elif entry.what == "changes":
                flushed.pop(entry.inode, None)
                changed.add(entry.inode)
            elif entry.what == "renamed" and entry.inode not in flushed:
                return f"renamed before it was flushed: {entry.content}"
        lost = [
            path
            for path, state in self.at_end.items()
            if (state != self.at_begin.get(path) or self._is_folder_in(changed, path, state))
            and not (state[0] in flushed and flushed[state[0]] in {None, state[1]})
            and (path in self.at_begin or state not in self.at_begin.values())
        ]
        return f"not flushed: {lost}" if lost else ""

    def _is_folder_in(self, changed: set[int], path: str, state: tuple[int, object]) -> bool:
        """Another file may have the same name."""
        del self
        return state[0] in changed and os.path.isdir(path)  # noqa: PTH112

    def needed(self) -> set[str]:
        """The places in the source whose flushes could not be left out."""
        return {s for entry in self.log for s in entry.sites if s and self.wrong(without=s)}

    def _is_renamed(self, source: str) -> None:
        status = os.lstat(source) if os.path.lexists(source) else None
        if status is None or not stat.S_ISREG(status.st_mode) or not self._is_below(source):
            return
        if self.at_begin.get(source) != _state(status):
            self.log.append(_Entry("renamed", status.st_ino, source))

    def _names(self, *paths: Any) -> None:
        """A name comes or goes."""
        for path in map(os.fsdecode, paths):
            if not _is_temporary(path) and os.path.isabs(path):  # noqa: PTH117
                self._changes(os.path.dirname(path))  # noqa: PTH120

    def _changes(self, *paths: object) -> None:
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike) and self._is_below(os.fsdecode(path)):
                with_name = os.fsdecode(path)
                if os.path.lexists(with_name) and not _is_temporary(with_name):
                    self.log.append(_Entry("changes", os.lstat(with_name).st_ino))

    def _is_below(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self.root)  # noqa: PTH100


def _sites() -> frozenset[str]:
    """Where in Surefoot's source we are, as `file:line`."""
    found, frame = set(), sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        _, of_ours, file = frame.f_code.co_filename.rpartition("/src/surefoot/")
        if of_ours:
            found.add(f"{file}:{frame.f_lineno}")
    return frozenset(found)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for watcher in _watchers:
        watcher.heard(event, arguments)


sys.addaudithook(_hear)
_fsync = os.fsync


def _flush(descriptor: Any) -> None:
    _fsync(descriptor)
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    for watcher in _watchers:
        watcher.flushes(os.fstat(number))


@contextmanager
def lasting(root: Path) -> Iterator[_Watcher]:
    """Asserts, at the end, that all that has become other below `root` is on the disk."""
    watcher = _Watcher(root)
    _watchers.append(watcher)
    os.fsync = _flush  # type: ignore[assignment]
    try:
        yield watcher
    finally:
        os.fsync = _fsync
        _watchers.remove(watcher)
    watcher.at_end = _seen(root)
    assert not watcher.wrong(), watcher.wrong()


def _seen(root: Path) -> dict[str, tuple[int, object]]:
    """Every file by what tells of a change, and every folder by the names in it."""
    found: dict[str, tuple[int, object]] = {}
    for folder, names, files in os.walk(root):
        there = tuple(n for n in sorted((*names, *files)) if not _is_temporary(f"{folder}/{n}"))
        if there and not _is_temporary(folder):  # a new and empty one is in its parent
            found[folder] = (os.lstat(folder).st_ino, there)
        for name in files:
            status = os.lstat(f"{folder}/{name}")
            if stat.S_ISREG(status.st_mode) and not _is_temporary(f"{folder}/{name}"):
                found[f"{folder}/{name}"] = _state(status)
    return found


def _is_temporary(path: str) -> bool:
    if path.endswith("-wal"):  # an empty one is for readers
        return not (os.path.lexists(path) and os.lstat(path).st_size)
    return _TEMPORARY.search(path) is not None


def _state(status: os.stat_result) -> tuple[int, object]:
    return (status.st_ino, (status.st_size, status.st_mtime_ns))
