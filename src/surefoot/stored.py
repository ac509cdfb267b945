"""Reads back what Surefoot wrote, whatever has become of it since.

Nothing here blocks, follows a pipe, or fills the memory; whatever is wrong is one DamagedError.
"""

from __future__ import annotations

import os
import stat
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from surefoot.errors import DamagedError

if TYPE_CHECKING:
    from pathlib import Path

SIZE_LIMIT = 16 * 1024 * 1024
"""Bytes; nothing that is read as a whole comes near."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""Without a zone it could not be compared with the others."""
UpdateId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")]
"""It names a folder."""

_Type = TypeVar("_Type")


def load(path: Path, kind: type[_Type]) -> _Type:
    """The record in a file. Raises FileNotFoundError where there is none, else DamagedError."""
    return decode(read(path), kind, name=str(path))


def read(path: Path, *, limit: int = SIZE_LIMIT) -> bytes:
    """The content of a file. Raises FileNotFoundError where there is none, else DamagedError."""
    try:
        with os.fdopen(open_file(path), "rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged(str(path), error.strerror or str(error)) from None
    if len(content) > limit:
        raise damaged(str(path), f"it is larger than {limit} bytes")
    return content


def open_file(path: Path) -> int:
    """A descriptor to read a file by. Raises OSError, also for what is no file: opening a pipe
    would wait for somebody to write into it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is not a file")
    return descriptor


def decode(content: bytes, kind: type[_Type], *, name: str) -> _Type:
    """The record in JSON. Raises DamagedError for whatever is not one."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, str(error)) from None


def convert(record: Any, kind: Any, *, name: str) -> Any:
    """The same for what was decoded in part. `kind` may be a union."""
    try:
        return msgspec.convert(record, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise damaged(name, str(error)) from None


def damaged(name: str, why: str) -> DamagedError:
    """The error that says so."""
    return DamagedError(f"{name} cannot be read: {why.rstrip('.')}.")
