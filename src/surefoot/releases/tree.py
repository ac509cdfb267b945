"""Writing a commit's files, byte for byte.

`git checkout` and `git archive` let `.gitattributes` and filters change what they write. Here each
blob is read as it is and hashed while it is written: what stands on disk is what the commit names.
Paths and symlinks come from whoever could push, so none may leave the folder.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from surefoot.errors import StageError
from surefoot.releases.git_command import GitFailedError, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.releases.git_command import Git

_CHUNK_BYTES = 1024 * 1024
_LINK, _SUBMODULE, _EXECUTABLE = "120000", "160000", "100755"


class DamagedObjectError(StageError):
    """The mirror lacks an object, or has it with other content than its name says."""


@dataclass(frozen=True)
class Entry:
    """One file, symlink or submodule of a commit."""

    mode: str
    object_id: str
    size_bytes: int
    path: str

    @property
    def is_submodule(self) -> bool:
        return self.mode == _SUBMODULE


def entries(git: Git, commit: str) -> list[Entry]:
    """What the commit consists of. Raises StageError for a path that must not be written."""
    try:
        listing = git.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
    except GitFailedError as error:
        raise DamagedObjectError(error.message, output=error.output) from None
    found = []
    for line in listing.split(b"\0"):
        if not line:
            continue
        facts, _, raw_path = line.partition(b"\t")
        mode, _, object_id, size = facts.decode("ascii").split()
        if size == "BAD":
            raise DamagedObjectError(f"The mirror lacks the object {object_id}.")
        path = os.fsdecode(raw_path)
        _check_path(path)
        found.append(Entry(mode, object_id, 0 if size == "-" else int(size), path))
    return found


def write(git: Git, files: list[Entry], folder: Path) -> None:
    """Writes files and symlinks below `folder`, which is made and must not be there yet.

    Raises StageError for a symlink that leads out of `folder` and for paths that collide,
    DamagedObjectError where the mirror does not have what it should.
    """
    folder.mkdir(parents=True)
    links = [entry for entry in files if entry.mode == _LINK]
    with _objects(git) as objects:
        for entry in files:
            if entry.mode != _LINK and not entry.is_submodule:
                _write_file(objects, entry, folder / entry.path)
        # Last, so that nothing is ever written through one.
        for entry in links:
            _write_link(objects, entry, folder)
    root = folder.resolve()
    for entry in links:
        if not Path(os.path.realpath(folder / entry.path)).is_relative_to(root):
            raise _escapes(entry.path)


def _check_path(path: str) -> None:
    parts = path.split("/")
    if any(part in {"", ".", ".."} or part.lower() == ".git" for part in parts):
        raise StageError(f"The release has a file named {path!r}, which is never written.")


def _make_parents(path: Path, name: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StageError(f"{name!r} of the release cannot be written: {error.strerror}.") from None


def _write_file(objects: _Objects, entry: Entry, path: Path) -> None:
    _make_parents(path, entry.path)
    mode = 0o777 if entry.mode == _EXECUTABLE else 0o666
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, mode), "wb") as file:
            for chunk in objects.read(entry):
                file.write(chunk)
    except OSError as error:
        raise StageError(
            f"{entry.path!r} of the release cannot be written: {error.strerror}."
        ) from None


def _write_link(objects: _Objects, entry: Entry, folder: Path) -> None:
    target = os.fsdecode(b"".join(objects.read(entry)))
    lexical = os.path.normpath(os.path.join(os.path.dirname(entry.path), target))  # noqa: PTH118, PTH120 - a text, not a place
    if target.startswith("/") or lexical == ".." or lexical.startswith("../"):
        raise _escapes(entry.path)
    path = folder / entry.path
    _make_parents(path, entry.path)
    try:
        path.symlink_to(target)
    except (OSError, ValueError) as error:
        raise StageError(f"{entry.path!r} of the release cannot be written: {error}.") from None


def _escapes(path: str) -> StageError:
    return StageError(
        f"The release's symlink {path!r} leads out of the release; nothing was changed.",
        next_step="Make it point to something inside the repository.",
    )


class _Objects:
    """Asks one `git cat-file --batch` for one object after another."""

    def __init__(self, to_git: IO[bytes], from_git: IO[bytes]) -> None:
        self._to_git = to_git
        self._from_git = from_git

    def read(self, entry: Entry) -> Iterator[bytes]:
        """The content of a blob, in pieces. Raises DamagedObjectError, at the latest after the
        last piece."""
        damaged = DamagedObjectError(f"The mirror's copy of {entry.path!r} is damaged.")
        try:
            self._to_git.write(entry.object_id.encode() + b"\n")
            self._to_git.flush()
            header = self._from_git.readline().split()
        except BrokenPipeError:
            raise damaged from None
        if header != [entry.object_id.encode(), b"blob", str(entry.size_bytes).encode()]:
            raise damaged
        digest = hashlib.new("sha1" if len(entry.object_id) == 40 else "sha256")
        digest.update(f"blob {entry.size_bytes}\0".encode())
        left = entry.size_bytes
        while left:
            chunk = self._from_git.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise damaged
            digest.update(chunk)
            left -= len(chunk)
            yield chunk
        if self._from_git.read(1) != b"\n" or digest.hexdigest() != entry.object_id:
            raise damaged


@contextmanager
def _objects(git: Git) -> Iterator[_Objects]:
    with subprocess.Popen(
        git.command("cat-file", "--batch"),
        cwd="/",
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        limit = threading.Timer(git.timeout_s, process.kill)
        limit.start()
        try:
            assert process.stdin is not None  # noqa: S101 - for the type checker
            assert process.stdout is not None  # noqa: S101
            yield _Objects(process.stdin, process.stdout)
        finally:
            limit.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
