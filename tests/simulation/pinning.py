"""The snapshot by a pin, call by call as in `surefoot.databases.pinning`."""

from __future__ import annotations

from typing import Any

from tests.simulation.copying import Copies, stamp
from tests.simulation.disk import ABSENT
from tests.simulation.world import (
    DB,
    FOLDERS,
    LOG,
    PIN,
    PIN_NEW,
    RESTORED,
    RESTORED_NEW,
    WHOLE,
    WORK,
    WORK_LOG,
)  # fmt: skip

from surefoot.errors import DatabaseError

VALID = "valid"
ADOPTED = "adopted"
"""What the record of a pin holds; the second names the migration's log."""


class Pins(Copies):
    """The verbs, on a pin."""

    def take_pin(self, *, in_place: bool) -> dict[str, Any]:
        self.remove(PIN)
        self._remove_work()
        self._freeze()
        self._build(in_place=in_place)
        self.replace(PIN, PIN_NEW, VALID)
        return {"kind": "pin", "stamp": list(stamp(self.files[DB])), "in_place": in_place}

    def prepare_pin(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        self._check_pin(record)
        in_place = record["in_place"]
        has_log = self.files[LOG] is not ABSENT
        if self.files[PIN] == ADOPTED or (in_place and has_log):
            self._drop_log()
            self.replace(PIN, PIN_NEW, VALID)
        elif has_log:
            raise DatabaseError("Somebody has written to the database during the update.")
        if not self.world.holds or (not in_place and self.files[WORK_LOG] is not ABSENT):
            self._build(in_place=in_place)

    def adopt_pin(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        self._check_pin(record)
        self._end_guard()
        if record["in_place"]:
            if self.files[LOG] is not ABSENT:
                self.sync(LOG)
                self.sync_folder("data")
            if self.files[PIN] == VALID:
                self.replace(PIN, PIN_NEW, ADOPTED)
        elif self.files[WORK_LOG] is not ABSENT:
            self.sync(WORK_LOG)
            self.replace(PIN, PIN_NEW, ADOPTED)
            self.rename(WORK_LOG, LOG)
            self.sync_folder("data")
        elif self.files[PIN] == VALID:
            self.replace(PIN, PIN_NEW, ADOPTED)
        self._remove_work()
        self._leave_guard()

    def keep(self, record: dict[str, Any]) -> None:
        """Before the app is started."""
        if record["kind"] == "pin" and not self.world.guard:
            self._leave_guard()

    def restore_pin(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        if self.files[RESTORED] is not ABSENT:
            return
        self._check_pin(record)
        self._end_guard()
        if self.files[LOG] is not ABSENT:
            self.call("keep what is replaced")
        self._drop_log()
        self.replace(RESTORED, RESTORED_NEW, WHOLE)
        self.world.holds = False

    def release_pin(self) -> None:
        if self.has_folder():
            self.remove(PIN)
            self.remove(RESTORED)
        self._remove_work()
        self._end_guard()

    def _freeze(self) -> None:
        """Brings the log in and holds the main file so."""
        self.checkpoint()
        self.world.holds = True

    def _build(self, *, in_place: bool) -> None:
        if not self.world.holds:
            self._freeze()
        self._remove_work()
        if in_place:
            return
        self.sync_folder("in_flight")  # the folder for the work is made
        if self.call("link to in_flight/main.work/app.db"):
            self.disk.link(WORK, WHOLE)

    def _remove_work(self) -> None:
        self.remove_tree("in_flight/main.work", FOLDERS["in_flight/main.work"])

    def _drop_log(self) -> None:
        self._end_guard()
        self.world.holds = False
        self._remove_work()
        self.remove_log()

    def _leave_guard(self) -> None:
        if self.call("leave a guard"):
            self.world.guard = True

    def _end_guard(self) -> None:
        if self.world.guard:
            self.at("end the guard")
            self.world.guard = False

    def _check_pin(self, record: dict[str, Any]) -> None:
        if self.files[PIN] is ABSENT:
            raise DatabaseError("The snapshot is missing, so the database cannot be put back.")
        if list(stamp(self.files[DB])) != record["stamp"]:
            raise DatabaseError("The database was pinned, but its file has changed.")
