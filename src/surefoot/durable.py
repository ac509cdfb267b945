"""Changes to files that are still there after a power cut, or were never made.

The one way to write: a temporary file beside the target, fsync, rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path


def write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replaces `path` by `content`: whoever looks sees the old or the new content, whole."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Removes a file, if it is there, for good."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def discard(path: Path) -> None:
    """Removes whatever has this name, for good: also a folder that should have been a file."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        remove(path)


def link(path: Path, target: str) -> None:
    """Makes `path` a symlink to `target` by one rename."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(path)
    sync_folder(path.parent)


def make_folder(path: Path, *, mode: int = 0o755) -> None:
    """Makes a folder and those above it, if they are not there, for good."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_folder(path.parent)


def remove_tree(path: Path) -> None:
    """Removes a folder and all that is in it, if it is there.

    It is renamed first: whoever looks sees the whole folder or none.
    """
    doomed = path.with_name(f".{path.name}.gone")
    if doomed.exists():  # a removal that was interrupted
        shutil.rmtree(doomed)
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_dir():
        remove(path)
        return
    path.rename(doomed)
    sync_folder(path.parent)
    shutil.rmtree(doomed)


def sync_file(path: Path) -> None:
    """Flushes a file's content to the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Flushes a folder's entries (names made, renamed, removed) to the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_tree(path: Path, *, since_ns: int = 0) -> None:
    """Flushes every file and folder below `path` that has changed since that time (its ctime)."""
    for folder, _, names in os.walk(path):
        for file in (Path(folder, name) for name in names):
            status = file.lstat()
            if not stat.S_ISLNK(status.st_mode) and status.st_ctime_ns >= since_ns:
                sync_file(file)
        if os.stat(folder).st_ctime_ns >= since_ns:  # noqa: PTH116 - a text
            sync_folder(Path(folder))


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
