"""The snapshot by a clone on a server, call by call as in `surefoot.databases.postgresql.cloning`.

The server keeps its own promises: each of its changes is made at once, whole, and for good.
"""

from __future__ import annotations

from typing import Any

from tests.simulation.copying import Copies
from tests.simulation.disk import ABSENT
from tests.simulation.world import (
    BEGUN,
    BEGUN_NEW,
    CLONE,
    CLONE_NEW,
    DB,
    RESTORED,
    RESTORED_NEW,
    SERVER,
    SERVER_CLOSED,
    SERVER_NEW,
    SERVER_OLD,
    SERVER_REPLACED,
    WHOLE,
    Data,
)  # fmt: skip

from surefoot.errors import DatabaseError

OIDS = "abcdef"


class Clones(Copies):
    """The verbs, on a clone."""

    def take_clone(self) -> dict[str, Any]:
        self._open(DB)
        record = {
            "kind": "clone",
            "stamp": [self.files[DB].schema, self.files[DB].file],
            "redirected": self.scenario.is_redirected,
        }
        self.remove(RESTORED)
        self.remove(BEGUN)
        self.replace(CLONE, CLONE_NEW, self.files[DB].file)
        self.server("drop what is beside the database")
        for slot in (SERVER_NEW, SERVER_OLD, SERVER_REPLACED):
            self.files[slot] = ABSENT
        self._clone()
        return record

    def undo_clone(self) -> None:
        """What only taking a snapshot has done, of which the lock knows nothing."""
        if self.files[CLONE] is not ABSENT and self.files[BEGUN] is ABSENT:
            self.restore_clone({"stamp": [0, self.files[CLONE]]})

    def prepare_clone(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        if self._where(record) != DB:
            self._close(DB)
            self.server("swap the clone out")
            files = self.files
            files[DB], files[SERVER_NEW], files[SERVER_OLD] = files[SERVER_OLD], files[DB], ABSENT
        if self.files[BEGUN] is not ABSENT or self.files[SERVER_NEW] is ABSENT:
            self.server("drop the clone")
            self.files[SERVER_NEW] = ABSENT
            self._clone()
        else:
            self._close(DB)
        self.replace(BEGUN, BEGUN_NEW, WHOLE)
        if not record["redirected"]:
            self._swap_in()

    def adopt_clone(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        if self._where(record) == DB:
            self._swap_in()
        self._open(DB)

    def restore_clone(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        if self.files[RESTORED] is not ABSENT:
            return
        if self._where(record) != DB:
            self.server("drop what was replaced before")
            self.files[SERVER_REPLACED] = ABSENT
            self._close(DB)
            self.server("swap the database back, and open it")
            files = self.files
            files[SERVER_REPLACED], files[DB] = files[DB], files[SERVER_OLD]
            files[SERVER_OLD] = ABSENT
            self._opened()
        self._open(DB)
        self.replace(RESTORED, RESTORED_NEW, WHOLE)

    def release_clone(self) -> None:
        if self.has_folder():
            for slot in (CLONE, BEGUN, RESTORED):
                self.remove(slot)

    def sweep(self) -> None:
        """After the update, when nobody waits."""
        for slot in (SERVER_NEW, SERVER_OLD):
            self.files[slot] = ABSENT

    # -- the server

    def server(self, what: str) -> None:
        if not self.call(f"the server: {what}"):
            raise AssertionError("left out on the server")

    def _close(self, slot: int) -> None:
        self.server("close the database, and end its sessions")
        closed = {*(self.files[SERVER_CLOSED] or ()), self.files[slot].file}
        self.files[SERVER_CLOSED] = tuple(sorted(closed))

    def _open(self, slot: int) -> None:
        self.server("open the database")
        del slot
        self._opened()

    def _opened(self) -> None:
        closed = {*(self.files[SERVER_CLOSED] or ())} - {self.files[DB].file}
        self.files[SERVER_CLOSED] = tuple(sorted(closed)) or ABSENT

    def _clone(self) -> None:
        self._close(DB)
        self.server("clone the database")
        used = {self.files[slot].file for slot in SERVER if isinstance(self.files[slot], Data)}
        oid = next(letter for letter in OIDS if letter not in used)
        self.files[SERVER_NEW] = self.files[DB]._replace(file=oid)

    def _swap_in(self) -> None:
        self._close(DB)
        self._close(SERVER_NEW)
        self.server("swap the clone in, and open it")
        files = self.files
        files[SERVER_OLD], files[DB], files[SERVER_NEW] = files[DB], files[SERVER_NEW], ABSENT
        self._opened()

    def _where(self, record: dict[str, Any]) -> int:
        """Where the database that was there at `take` is now."""
        for slot in (DB, SERVER_OLD):
            found = self.files[slot]
            if isinstance(found, Data) and found.file == record["stamp"][1]:
                return slot
        raise DatabaseError("The database as it was before is not on the server any more.")
