"""The snapshot by a copy, and a backup that takes the database's place: call by call as in
`surefoot.databases.copying`, `backups` and `files`."""

from __future__ import annotations

from typing import Any

from tests.simulation.disk import ABSENT
from tests.simulation.primitives import Primitives, change_main
from tests.simulation.world import (
    DB,
    DB_BACKUP,
    DB_PART,
    DB_PUT,
    DB_STAGED,
    FOLDER_OF,
    IN_FLIGHT,
    LOG,
    RESTORED,
    RESTORED_NEW,
    SNAPSHOT,
    SNAPSHOT_PART,
    WHOLE,
    Data,
)  # fmt: skip

from surefoot.errors import DatabaseError

BACKUP = "d"
"""The file that a backup is put in place as."""


class Copies(Primitives):
    """The verbs, on a copy, and where there is no database yet."""

    def take_copy(self) -> dict[str, Any]:
        self.remove(RESTORED)
        if self.files[DB] is ABSENT:
            return {"kind": "absent"}
        self.checkpoint()
        self.sync(DB)
        main = self.files[DB]
        other = main._replace(file="b" if main.file == "a" else "a")
        self._duplicate(other, SNAPSHOT_PART, SNAPSHOT)
        return {"kind": "copy", "stamp": list(stamp(self.files[DB]))}

    def prepare_copy(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        if record["kind"] == "absent":
            self._remove_database()
            return
        if self._is_untouched(record):
            return
        copy = self._checked_copy(record)
        self._duplicate(copy._replace(file="c"), None, DB_STAGED)
        self.clear_for_another()
        self._put(self.files[DB_STAGED])
        self.remove(DB_STAGED)

    def adopt_copy(self) -> None:
        self.end_orphans()
        if self.files[DB] is not ABSENT:
            self.sync(DB)
            if self.files[LOG] is not ABSENT:
                self.sync(LOG)
            self.sync_folder("data")

    def restore_copy(self, record: dict[str, Any]) -> None:
        self.end_orphans()
        if self.files[RESTORED] is not ABSENT:
            return
        if record["kind"] == "absent":
            if self.files[DB] is not ABSENT:
                self.clear_for_another(keep=True)
            self._remove_database()
        elif self._is_untouched(record) or self._is_put_back():
            self.sync_folder("data")
        else:
            copy = self._checked_copy(record)
            self.clear_for_another(keep=True)
            self._put(copy)
        self.replace(RESTORED, RESTORED_NEW, WHOLE)

    def release_copy(self) -> None:
        if self.has_folder():
            self.remove(SNAPSHOT)
            self.remove(RESTORED)

    def has_folder(self) -> bool:
        """Of the snapshots: it is made with the first and goes with the last of what is in it."""
        return any(self.files[slot] is not ABSENT for slot in IN_FLIGHT)

    def put_backup(self) -> None:
        """`backups.restore`. To whoever has asked for it the backup is what the data is to be, as
        long as nobody has been told of a row since."""
        schema = self.files[DB].schema if self.scenario.kind == "restore" else 1
        asked = isinstance(self.files[SNAPSHOT], Data) and self.files[SNAPSHOT].fresh
        self.remove(DB_BACKUP)
        self._duplicate(Data(schema, asked, BACKUP), DB_PART, DB_BACKUP)
        self.clear_for_another(keep=True)
        self._put(self.files[DB_BACKUP])
        self.remove(DB_BACKUP)

    # -- surefoot.databases.files

    def checkpoint(self) -> None:
        """`settle`: what is committed gets into the main file, durably, and the log is empty."""
        if not self.call("checkpoint the log of app.db"):
            return
        seen = self.world.database()
        if not isinstance(seen, Data):
            raise DatabaseError("The database is malformed.")
        if self.files[LOG] is not ABSENT:
            change_main(self.world, seen)
            self.disk.sync(DB)

    def _duplicate(self, content: Any, part: int | None, target: int) -> None:
        if part is None:
            self.write(target, content)
            self.sync(target)
        else:
            self.write(part, content)
            self.sync(part)
            self.rename(part, target)
        self.sync_folder(FOLDER_OF[target])

    def clear_for_another(self, *, keep: bool = False) -> None:
        if self.files[DB] is ABSENT:
            self.remove_log()
            return
        if isinstance(self.world.database(), Data):
            self.checkpoint()
        if keep:
            self.call("keep what is replaced")
        self.remove_log()

    def _put(self, content: Any) -> None:
        """The file has both names at once: a hard link, and then a rename."""
        if self.call("link to .app.db.put"):
            self.disk.link(DB_PUT, content)
        self.rename(DB_PUT, DB)
        self.sync_folder("data")

    def remove_log(self) -> None:
        self.unlink(LOG)
        self.sync_folder("data")

    def _remove_database(self) -> None:
        self.remove_log()
        self.remove(DB)

    def end_orphans(self) -> None:
        if self.call("end what a killed migration has left"):
            self.world.orphan = ""

    def _is_untouched(self, record: dict[str, Any]) -> bool:
        return stamp(self.files[DB]) == tuple(record["stamp"]) and self.files[LOG] is ABSENT

    def _is_put_back(self) -> bool:
        copy = self.files[SNAPSHOT]
        return isinstance(copy, Data) and stamp(self.files[DB])[1] == copy.file

    def _checked_copy(self, record: dict[str, Any]) -> Data:
        copy = self.files[SNAPSHOT]
        if not self.scenario.copy_stays_good or not isinstance(copy, Data):
            raise DatabaseError("The snapshot cannot be read; the database was left as it was.")
        if copy.schema != record["stamp"][0]:
            raise DatabaseError("The snapshot does not have its content any more.")
        return copy


def stamp(content: Any) -> tuple[Any, Any]:
    """A change of the schema, or another file, is seen."""
    return (content.schema, content.file) if isinstance(content, Data) else (content, None)
