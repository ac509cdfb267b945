"""The simulated world: one home's disk, its processes, and its users, who write all the time.

A database's content is (schema, fresh, file): the schema is 1 (old), 2 (new) or "half"; it is fresh
as long as it holds every row that a user was told is saved; `file` tells one file from another. A
write-ahead log belongs to one file with one content only, and names both in its `file`. What the
users have written last makes every other copy stale at that instant, so a stale database in use is
a lost row.

On a PostgreSQL server the app's database and those beside it are slots too, and `file` is the oid:
the server makes each change durable by itself, and lets nobody into those that are closed.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.disk import ABSENT, DAMAGED, TORN, Disk

from surefoot.app import lockfile

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = (
    "UPDATE_LOCK.json", ".UPDATE_LOCK.json.new", "update_history.jsonl", "app.db", "app.db-wal",
    ".app.db.snapshot", ".app.db.put", ".app.db.backup", "..app.db.backup.part",
    "in_flight/main.db",
    "in_flight/.main.db.part", "in_flight/main.restored", "in_flight/.main.restored.new",
    "in_flight/update.json", "in_flight/.update.json.new", "in_flight/rolling_back",
    "in_flight/.rolling_back.new", "in_flight/main.pin", "in_flight/.main.pin.new",
    "in_flight/main.work/app.db", "in_flight/main.work/app.db-wal", "in_flight/main.clone",
    "in_flight/.main.clone.new", "in_flight/main.begun", "in_flight/.main.begun.new",
    "ledger.json", ".ledger.json.new", "releases/2/app", "releases/2/release.json",
    "releases/2/.release.json.new", "environments/e", "environments/e/environment.json",
    "environments/e/.environment.json.new", "current", ".current.new", "run/request.json",
    "server: app-new", "server: app-old", "server: app-replaced", "server: closed",
)  # fmt: skip
(
    LOCK, LOCK_NEW, HISTORY, DB, LOG,
    DB_STAGED, DB_PUT, DB_BACKUP, DB_PART, SNAPSHOT,
    SNAPSHOT_PART, RESTORED, RESTORED_NEW,
    RECORD, RECORD_NEW, BACKWARDS,
    BACKWARDS_NEW, PIN, PIN_NEW,
    WORK, WORK_LOG, CLONE,
    CLONE_NEW, BEGUN, BEGUN_NEW,
    LEDGER, LEDGER_NEW, CODE, MARKER,
    MARKER_NEW, ENVIRONMENT, ENV_MARKER,
    ENV_MARKER_NEW, CURRENT, CURRENT_NEW, REQUEST,
    SERVER_NEW, SERVER_OLD, SERVER_REPLACED, SERVER_CLOSED,
) = range(len(NAMES))  # fmt: skip

FOLDERS = {
    "data": (LOCK, LOCK_NEW, HISTORY, DB, LOG, DB_STAGED, DB_PUT, DB_BACKUP, DB_PART),
    "in_flight": (
        SNAPSHOT, SNAPSHOT_PART, RESTORED, RESTORED_NEW, RECORD, RECORD_NEW, BACKWARDS,
        BACKWARDS_NEW, PIN, PIN_NEW, CLONE, CLONE_NEW, BEGUN, BEGUN_NEW,
    ),
    "in_flight/main.work": (WORK, WORK_LOG),
    "releases": (LEDGER, LEDGER_NEW, CODE),
    "releases/2": (MARKER, MARKER_NEW),
    "environments": (ENVIRONMENT,),
    "environments/e": (ENV_MARKER, ENV_MARKER_NEW),
    "home": (CURRENT, CURRENT_NEW),
    "run": (REQUEST,),
}  # fmt: skip
IN_FLIGHT = FOLDERS["in_flight"] + FOLDERS["in_flight/main.work"]
SERVER = (DB, SERVER_NEW, SERVER_OLD, SERVER_REPLACED)
FOLDER_OF = {slot: folder for folder, slots in FOLDERS.items() for slot in slots}

TEMPORARY = (LOCK_NEW, SNAPSHOT_PART, RESTORED_NEW, RECORD_NEW, BACKWARDS_NEW, PIN_NEW, CLONE_NEW,
             BEGUN_NEW, LEDGER_NEW, MARKER_NEW, ENV_MARKER_NEW, DB_STAGED, DB_PUT, DB_BACKUP,
             DB_PART, CURRENT_NEW)  # fmt: skip
"""Never read by who has not written them: what a crash leaves of them is no difference."""
DATABASES = (DB, LOG, DB_STAGED, DB_PUT, DB_BACKUP, DB_PART, SNAPSHOT, SNAPSHOT_PART, WORK_LOG,
             SERVER_NEW, SERVER_OLD, SERVER_REPLACED)  # fmt: skip
WHOLE = "whole"
HALF = "half"
CORRUPT = ("corrupt", False, "-")

OLD, NEW = "1", "2"
"""The names of the two releases."""


class Data(NamedTuple):
    """What a database, or its log, holds."""

    schema: int | str
    fresh: bool
    file: str | tuple[str, int | str]

    @property
    def base(self) -> tuple[str, int | str]:
        """What a log beside this main file names."""
        return (str(self.file), self.schema)


class Ledger(NamedTuple):
    commits: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    abandoned: int = 0


class Violation(Exception):  # noqa: N818 - it is what the simulation looks for
    """A promise is broken."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")
        self.rule = rule
        self.text = text


class World:
    """Everything that a later instant depends on, and nothing else."""

    __slots__ = (
        "app", "begun", "beside", "disk", "ended", "full", "goal", "guard", "holds", "listening",
        "on_server", "orphan", "stopped",
    )  # fmt: skip

    def __init__(self, disk: Disk, *, on_server: bool = False) -> None:
        self.disk = disk
        self.on_server = on_server
        """Whether the database lies on a server."""
        self.app: str | None = None
        """The release whose processes run."""
        self.beside: str | None = None
        """The release that runs in private."""
        self.goal = "stop"
        """The supervisor's."""
        self.listening = False
        """Whether the engine has opened its probes."""
        self.stopped = False
        """Whether the engine knows that the app is stopped (all else it knows is the update)."""
        self.orphan = ""
        """The kind of the snapshot on which a migration outlives its engine."""
        self.holds = False
        """Whether the engine holds the main file of a pinned database, and the link to it."""
        self.guard = False
        """Whether a process holds the main file that outlives the engine."""
        self.full = False
        """The disk is full until the engine has ended."""
        self.begun: tuple[tuple[str, int], ...] = ()
        """How often each step was begun, as the world has seen it."""
        self.ended: tuple[str, str, str | None] | None = None
        """The update, its outcome and its release, once the lock has durably said so."""

    def copy(self) -> World:
        new = World.__new__(World)
        new.disk = self.disk.copy()
        new.app = self.app
        new.beside = self.beside
        new.goal = self.goal
        new.listening = self.listening
        new.stopped = self.stopped
        new.on_server = self.on_server
        new.orphan = self.orphan
        new.holds = self.holds
        new.guard = self.guard
        new.full = self.full
        new.begun = self.begun
        new.ended = self.ended
        return new

    def key(self) -> tuple[Any, ...]:
        return (
            self.disk.key(), self.app, self.beside, self.goal, self.listening, self.stopped,
            self.orphan, self.holds, self.guard, self.full, self.begun, self.ended,
        )  # fmt: skip

    # -- the ways to die

    def engine_dies(self) -> None:
        self.listening = False
        self.stopped = False
        self.holds = False
        self.full = False
        self._forget_temporary()

    def everything_dies(self) -> None:
        self.engine_dies()
        self.app = None
        self.beside = None
        self.goal = "stop"
        self.orphan = ""
        self.guard = False

    def power_cuts(self) -> Iterator[World]:
        """The world as each possible power cut leaves it; the first lost nothing."""
        dead = self.copy()
        dead.everything_dies()
        for files in dead.disk.after_power_cuts():
            world = dead.copy()
            world.disk = Disk(files)
            yield world

    def lock_is_damaged(self) -> None:
        """Something writes over the lock while nobody runs; what it said is not owed any more."""
        self.disk.files[LOCK] = DAMAGED
        self.disk.moving.pop(LOCK, None)
        self.ended = None

    def _forget_temporary(self) -> None:
        disk = self.disk
        for slot in TEMPORARY:
            if disk.files[slot] is not ABSENT or slot in disk.moving:
                disk.files[slot] = ABSENT
                disk.moving.pop(slot, None)

    # -- what can be seen of it

    def database(self) -> Any:
        """What somebody sees who opens the database: None, TORN or Data."""
        files = self.disk.files
        main, log = files[DB], files[LOG]
        if log is ABSENT or main is TORN:
            return main
        if main is ABSENT or log is TORN or log.file != main.base:
            return CORRUPT
        return log

    def is_closed(self) -> bool:
        """Whether the server lets nobody into the app's database."""
        main = self.disk.files[DB]
        closed = self.disk.files[SERVER_CLOSED] or ()
        return isinstance(main, Data) and main.file in closed

    def is_open(self) -> bool:
        """Whether the app's middleware lets the public in."""
        content = self.disk.files[LOCK]
        return content is ABSENT or not gate_is_closed(content)

    def serves(self) -> bool:
        return self.app is not None and self.is_open()


CLOSED_STATES = lockfile.CLOSED_STATES
"""The lock can be seen to say something an instant before the disk does. Who writes in that instant
would lose it, were the power cut: so the gate opens at the second state after the verdict."""


@cache
def gate_is_closed(lock: bytes | str) -> bool:
    """What the app's own reader of the lock says."""
    return isinstance(lock, str) or lockfile._parse(lock).state in CLOSED_STATES
