"""The lock: the journal of the update in flight, in `data/UPDATE_LOCK.json`.

It names the last state that is durably done. It is replaced as a whole, by one rename, and never
guessed at: it ends with a digest of itself, and one that cannot be read, or is not what was
written, is kept aside.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from surefoot import durable, stored
from surefoot.databases.snapshot import Snapshot
from surefoot.errors import DamagedError, RefusedError
from surefoot.stored import Moment, UpdateId
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.home import Home

SCHEMA = 1

Kind = Literal["update", "rollback", "restore"]


class Update(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One transaction that takes the app from one release to another."""

    id: UpdateId
    state: State = State.REQUESTED
    schema: int = SCHEMA
    kind: Kind = "update"
    origin: str = "cli"
    """From where it was asked: `cli`, `app`, `dashboard`, `schedule`, `watch` or `install`."""
    by: str = ""
    """Who asked, where that is known."""
    ref: str | None = None
    """What was asked for: a branch, a tag, a commit; None for the newest."""
    backup: str | None = None
    """The backup that is put in place of the database (`restore`)."""
    rescue: str | None = None
    """The backup that a person has chosen where a snapshot is lost (`broken`)."""
    from_: str | None = None
    to: str | None = None
    commit: str = ""
    """The full commit id of the release that is gone to."""
    token: str = ""
    """Lets the prober, and nobody else, past the gate."""
    reason: str = ""
    """Why it did not come to a commit."""
    cause: str = ""
    """The same from the closed list of `causes`."""
    output: str = ""
    """The end of what the failed command printed."""
    attempts: dict[str, Annotated[int, msgspec.Meta(ge=0)]] = msgspec.field(default_factory=dict)
    accept_data_changes: bool = False
    """A person has agreed to what the migration does to the data."""
    restore_database: bool = False
    """A person has agreed that a rollback puts a backup in place of a database."""
    downgrades: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """By database: the steps of the app's own downgrade, which was tried on a copy (`rollback`)."""
    restores: dict[str, str] = msgspec.field(default_factory=dict)
    """By database: the backup that takes its place (`rollback`)."""
    heeded: list[str] = msgspec.field(default_factory=list)
    """The databases whose migration was seen, on a copy, to go where it is told."""
    settled: list[str] = msgspec.field(default_factory=list)
    """The databases of which their own tool has said that there is nothing to migrate."""
    switchable: bool = False
    """The release does not set the journal mode of a database itself."""
    overlaps: bool = False
    """The release is judged, and takes over, beside the old one."""
    rehearsed: bool = False
    """Whether the whole app was found healthy on a copy of the databases."""
    pending: list[str] = msgspec.field(default_factory=list)
    """The databases that the release migrates; known before any of its code has run."""
    written: list[str] | None = None
    """The databases that the migrations have written to; None before they have all ended well."""
    snapshots: list[dict[str, Any]] = msgspec.field(default_factory=list)
    healthy: bool = True
    """Whether the release that serves at the end was found healthy."""
    durations: dict[str, float] = msgspec.field(default_factory=dict)
    """Seconds spent in each step; `start` lasts until the first good answer."""
    requested_at: Moment = msgspec.field(default_factory=lambda: datetime.now(UTC))
    since: Moment = msgspec.field(default_factory=lambda: datetime.now(UTC))
    """When the gate closed, or the state was entered."""
    closed_at: Moment | None = None
    """When the app was asked to stop."""
    waiting_since: Moment | None = None
    """From when on whoever came had to wait for the app; who came before was answered in time."""
    opened_at: Moment | None = None
    """When the public was let in again."""
    turned_away: int = 0
    """How many clients were given the maintenance answer by the gate."""

    @property
    def window_s(self) -> float | None:
        """How long the app was away; None where it was not, or is not back."""
        if self.closed_at is None or self.opened_at is None:
            return None
        return max((self.opened_at - self.closed_at).total_seconds(), 0.0)


def new_id() -> str:
    """A name for an update: sortable by time, and never the same twice."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


class Lock:
    """Reads and writes the lock of one home. Only the engine writes."""

    def __init__(self, home: Home) -> None:
        self._path = home.lock

    def read(self) -> Update | None:
        """The update in flight; None without a lock. Raises DamagedError if it cannot be read."""
        try:
            return load(self._path)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            raise DamagedError(
                f"The lock {error.message}",
                next_step="The next start keeps it aside and works out the state from the disk.",
            ) from None

    def save(self, update: Update) -> None:
        """Makes this the durable truth."""
        durable.make_folder(self._path.parent)
        write(self._path, update)

    def forget(self) -> None:
        """Ends the transaction: the lock is gone for good."""
        durable.remove(self._path)

    def keep_aside(self, instead: Update | None = None) -> Path:
        """Keeps a lock that cannot be read under another name, which is returned, and puts
        `instead` in its place: at no instant there is none."""
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        try:
            os.link(self._path, aside, follow_symlinks=False)
        except OSError:  # a folder, somebody else's file, a file system without hard links
            self._path.rename(aside)
        if instead is not None:
            self.save(instead)
        else:
            self.forget()
        return aside


def write(path: Path, update: Update) -> None:
    """Describes an update in a file, durably, as `load` reads it."""
    durable.write(path, sealed(msgspec.json.encode(update)), mode=0o600)


def load(path: Path) -> Update:
    """The update that a file describes, all of it understood.

    Raises FileNotFoundError where there is none, else DamagedError.
    """
    content = stored.read(path)
    update = stored.decode(content, Update, name=str(path))
    if update.schema != SCHEMA:
        raise stored.damaged(
            str(path), f"it has schema {update.schema}, and this Surefoot writes {SCHEMA}"
        )
    if sealed(content[: -len(_seal(b""))] + b"}") != content:
        raise stored.damaged(str(path), "it is not what was written: its digest does not fit")
    for record in update.snapshots:
        stored.convert(record, Snapshot, name=str(path))
    return update


def sealed(record: bytes) -> bytes:
    """The JSON object with the digest of what it was without it."""
    return record[:-1] + _seal(record)


def _seal(record: bytes) -> bytes:
    return b',"digest":"%s"}' % hashlib.sha256(record).hexdigest().encode()


def is_engine_at_work(home: Home) -> bool:
    """Whether an engine holds the right to change anything."""
    try:
        descriptor = os.open(home.releases, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def only_engine(home: Home) -> Iterator[None]:
    """Holds the right to change anything. A dead holder never blocks.

    Raises RefusedError while another engine holds it.
    """
    durable.make_folder(home.releases)
    descriptor = os.open(home.releases, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                "Another update is in flight.", next_step="See it with `surefoot status`."
            ) from None
        yield
    finally:
        os.close(descriptor)
