"""Whether what somebody has done to files is still there after a power cut.

Looked at from outside: whatever is new below a folder, or other than before, must have been
flushed, and every folder in which a name has come or gone. A file must be flushed before a rename
gives it a name that somebody else may know. What nobody minds when it comes back is left out: what
is being removed, locks, and what SQLite makes for its readers.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEMPORARY = re.compile(r"\.gone(/|$)|\.lock$|-(shm|wal)$")
_watchers: list[_Watcher] = []


class _Watcher:
    """The flushes of this process, by inode; what has changed since is not flushed any more."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.flushed: dict[int, object] = {}
        """By inode: what it was then."""
        self.at_begin = _seen(root)
        self.too_early: list[str] = []

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE:
            self._forget(arguments[0])
        elif event == "os.rename":
            source, target = map(os.fspath, arguments[:2])
            self._renamed(source)
            self._forget(os.path.dirname(source), os.path.dirname(target))  # noqa: PTH120
        elif event == "os.mkdir":
            if not os.path.lexists(arguments[0]):
                self._forget(os.path.dirname(os.fspath(arguments[0])))  # noqa: PTH120
        elif event in {"os.remove", "os.rmdir"}:
            if not _TEMPORARY.search(os.fsdecode(arguments[0])):
                self._forget(os.path.dirname(os.fspath(arguments[0])))  # noqa: PTH120
        elif event in {"os.link", "os.symlink"}:
            self._forget(os.path.dirname(os.fspath(arguments[1])))  # noqa: PTH120

    def has_flushed(self, state: tuple[int, object]) -> bool:
        """Whether that file, as it is, or that folder was; programs that write are not heard."""
        inode, content = state
        return inode in self.flushed and self.flushed[inode] in {None, content}

    def _renamed(self, source: str) -> None:
        status = os.lstat(source) if os.path.lexists(source) else None
        if status is None or not stat.S_ISREG(status.st_mode) or not self._is_below(source):
            return
        before = self.at_begin.get(source)
        if status.st_ino not in self.flushed and before != _state(status):
            self.too_early.append(source)

    def _forget(self, *paths: object) -> None:
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike) and self._is_below(os.fsdecode(path)):
                with_name = os.fsdecode(path)
                if os.path.lexists(with_name) and not _TEMPORARY.search(with_name):
                    self.flushed.pop(os.lstat(with_name).st_ino, None)

    def _is_below(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self.root)  # noqa: PTH100


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for watcher in _watchers:
        watcher.heard(event, arguments)


sys.addaudithook(_hear)
_fsync = os.fsync


def _flush(descriptor: Any) -> None:
    _fsync(descriptor)
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    for watcher in _watchers:
        status = os.fstat(number)
        is_file = stat.S_ISREG(status.st_mode)
        watcher.flushed[status.st_ino] = _state(status)[1] if is_file else None


@contextmanager
def lasting(root: Path) -> Iterator[None]:
    """Asserts, at the end, that all that has become other below `root` is on the disk."""
    watcher = _Watcher(root)
    _watchers.append(watcher)
    os.fsync = _flush  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = _fsync
        _watchers.remove(watcher)
    assert not watcher.too_early, f"renamed before it was flushed: {watcher.too_early}"
    after = _seen(root)
    lost = [
        path
        for path, state in after.items()
        if state != watcher.at_begin.get(path)
        and not watcher.has_flushed(state)
        and not _is_moved(state, watcher)
    ]
    assert not lost, f"not flushed: {lost}"


def _is_moved(state: tuple[int, object], watcher: _Watcher) -> bool:
    """Whether it only has another name: its folder tells of that."""
    return state in watcher.at_begin.values()


def _seen(root: Path) -> dict[str, tuple[int, object]]:
    """Every file by what tells of a change, and every folder by the names in it."""
    found: dict[str, tuple[int, object]] = {}
    for folder, names, files in os.walk(root):
        there = tuple(sorted(n for n in (*names, *files) if not _TEMPORARY.search(n)))
        if there and not _TEMPORARY.search(folder):  # a new and empty one is in its parent
            found[folder] = (os.lstat(folder).st_ino, there)
        for name in files:
            status = os.lstat(f"{folder}/{name}")
            if stat.S_ISREG(status.st_mode) and not _TEMPORARY.search(f"{folder}/{name}"):
                found[f"{folder}/{name}"] = _state(status)
    return found


def _state(status: os.stat_result) -> tuple[int, object]:
    return (status.st_ino, (status.st_size, status.st_mtime_ns))
