"""What a step consists of: single calls to the world, each an instant at which all may end.

The ways to write are those of `surefoot.durable`, call by call.
"""

from __future__ import annotations

from errno import ENOSPC
from typing import TYPE_CHECKING, Any

from tests.simulation.disk import ABSENT
from tests.simulation.world import (
    DATABASES,
    DB,
    FOLDER_OF,
    FOLDERS,
    LOG,
    NAMES,
    SERVER_NEW,
    SNAPSHOT,
    WORK,
    WORK_LOG,
    Data,
)  # fmt: skip

from surefoot.errors import SurefootError

if TYPE_CHECKING:
    from tests.simulation.scenarios import Scenario
    from tests.simulation.world import World

FAILS = ("fails",)
WRITES = ("fails", "full")
"""How a call can fail; `full`: and every later one that needs room, until the engine has ended."""

_WRITE = tuple(f"write {name}" for name in NAMES)
_SYNC = tuple(f"fsync {name}" for name in NAMES)
_RENAME = tuple(f"rename to {name}" for name in NAMES)
_UNLINK = tuple(f"unlink {name}" for name in NAMES)
_FOLDER = {folder: f"fsync folder {folder}" for folder in FOLDERS}


class SimulatedError(SurefootError):
    """Something in the simulated world has failed."""


class Fork:
    """An instant: the world just before a call, and how the call can fail."""

    __slots__ = ("can", "number", "what", "world")

    def __init__(self, number: int, what: str, can: tuple[str, ...], world: World) -> None:
        self.number = number
        self.what = what
        self.can = can
        self.world = world


class Primitives:
    """Calls to one world. Each first says `at`, where faults come in."""

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        *,
        failing: tuple[tuple[int, str], ...] = (),
        forks: list[Fork] | None = None,
        left_out: frozenset[str] = frozenset(),
    ) -> None:
        self.world = world
        self.disk = world.disk
        self.files = world.disk.files
        self.scenario = scenario
        self.forks = forks
        self.count = 0
        self.left_out = left_out
        """Calls that are not made, to show that each is needed."""
        self._failing = dict(failing)
        self._used: tuple[Any, ...] = ()
        """What the users have written to last; to write there once more changes nothing."""

    def at(self, what: str, can: tuple[str, ...] = ()) -> str | None:
        """An instant before the call `what`; returns how the call fails, if it does."""
        self.count += 1
        world = self.world
        if world.app is not None and world.is_open():
            files = self.files
            seen = (world.app, files[DB], files[LOG], files[SNAPSHOT])
            if seen != self._used:
                self.scenario.use(world)
                self._used = (world.app, files[DB], files[LOG], files[SNAPSHOT])
        if world.orphan:
            write_half(world)
        if self.forks is not None:
            self.forks.append(Fork(self.count, what, can, world.copy()))
        fault = self._fault(what, can)
        if fault == "full":
            world.full = True
        return "full" if world.full and can is WRITES else fault

    def _fault(self, what: str, can: tuple[str, ...]) -> str | None:
        del what, can
        return self._failing.get(self.count) if self._failing else None

    def call(self, what: str, can: tuple[str, ...] = FAILS) -> bool:
        """A call that raises where it fails; returns whether it is to be made."""
        fault = self.at(what, can)
        if fault is not None:
            raise OSError(ENOSPC, f"{what}: {fault}")
        return not self.left_out or what not in self.left_out

    # -- surefoot.durable

    def write(self, slot: int, content: Any, *, torn: bool = True) -> None:
        if self.call(_WRITE[slot], WRITES):
            self.disk.write(slot, content, torn=torn)

    def sync(self, slot: int) -> None:
        if self.call(_SYNC[slot]):
            self.disk.sync(slot)

    def rename(self, source: int, target: int) -> None:
        if self.call(_RENAME[target]):
            self.disk.rename(source, target)

    def unlink(self, slot: int) -> None:
        if self.files[slot] is not ABSENT and self.call(_UNLINK[slot]):
            self.disk.unlink(slot)

    def sync_folder(self, folder: str) -> None:
        if self.call(_FOLDER[folder]):
            self.disk.sync_names(FOLDERS[folder])

    def replace(self, slot: int, temporary: int, content: Any) -> None:
        """`durable.write`."""
        self.write(temporary, content)
        self.sync(temporary)
        self.rename(temporary, slot)
        self.sync_folder(FOLDER_OF[slot])

    def remove(self, slot: int) -> None:
        """`durable.remove`."""
        self.unlink(slot)
        self.sync_folder(FOLDER_OF[slot])

    def remove_tree(self, folder: str, slots: tuple[int, ...]) -> None:
        """`durable.remove_tree`: the folder, with all these in it, is renamed away."""
        if all(self.files[slot] is ABSENT for slot in slots):
            return
        if self.call(f"rename {folder} away"):
            self.disk.unlink_together(slots)
        if self.call(f"fsync the folder above {folder}"):
            self.disk.sync_names(slots)
        self.at(f"remove what was {folder}")


def write_half(world: World) -> None:
    """A migration that nobody watches goes on writing."""
    seen = migrating(world, world.orphan)
    if isinstance(seen, Data) and seen.schema != "half":
        migrate_to(world, world.orphan, "half")


def migrating(world: World, kind: str) -> Any:
    """What a migration sees that works on a snapshot of this kind."""
    files = world.disk.files
    if kind == "pin":
        if files[WORK] is ABSENT:  # the folder was taken away under it
            return ABSENT
        return files[DB] if files[WORK_LOG] is ABSENT else files[WORK_LOG]
    return files[SERVER_NEW] if kind == "clone" else world.database()


def migrate_to(world: World, kind: str, schema: int | str) -> None:
    """The app's own program writes: a database keeps each of its transactions whole."""
    seen, disk = migrating(world, kind), world.disk
    if kind == "clone":
        disk.files[SERVER_NEW] = seen._replace(schema=schema)
    elif kind in {"pin", "pin in place"}:
        log = WORK_LOG if kind == "pin" else LOG
        main = disk.files[DB]
        if disk.files[log] is ABSENT:  # an empty log, which says what the main file does
            disk.write(log, main._replace(file=main.base), torn=False)
        disk.write(log, seen._replace(schema=schema, file=main.base), torn=False)
    else:
        if seen is ABSENT:
            change_main(world, seen := Data(1, True, "a"))
        change_main(world, seen._replace(schema=schema))


def change_main(world: World, content: Data) -> None:
    """Something writes to the main file, its log included; it may reach the disk, or not."""
    files = world.disk.files
    file = files[DB].file if isinstance(files[DB], Data) else "a"
    if world.on_server:
        files[DB] = content._replace(file=file)
        return
    world.disk.write(DB, content._replace(file=file), torn=False)
    if files[LOG] is not ABSENT:
        files[LOG] = ABSENT
        world.disk.moving.pop(LOG, None)


def make_others_stale(world: World) -> None:
    """A user was told that a row is saved: it is in the database's log and nowhere else; on a
    server it is in the database itself."""
    disk = world.disk
    seen: Data = world.database()
    for slot in DATABASES:
        disk.change_all(slot, _stale)
    if world.on_server:
        disk.files[DB] = seen._replace(fresh=True)
        return
    disk.moving.pop(LOG, None)
    disk.files[LOG] = seen._replace(fresh=True, file=disk.files[DB].base)


def _stale(content: Any) -> Any:
    if isinstance(content, Data) and content.fresh:
        return content._replace(fresh=False)
    return content
