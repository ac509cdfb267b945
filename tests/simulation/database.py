"""The snapshot by a copy, call by call as in `surefoot.databases.copying` and `files`."""

from __future__ import annotations

from typing import Any

from tests.simulation.disk import ABSENT
from tests.simulation.primitives import Primitives, change_main
from tests.simulation.world import (
    DB,
    DB_PUT,
    DB_STAGED,
    FOLDER_OF,
    LOG,
    RESTORED,
    RESTORED_NEW,
    SNAPSHOT,
    SNAPSHOT_PART,
    WHOLE,
    Data,
)  # fmt: skip

from surefoot.errors import DatabaseError


class Database(Primitives):
    """The verbs of `surefoot.databases.snapshot`."""

    def take(self) -> dict[str, Any]:
        self.remove(RESTORED)
        if self.files[DB] is ABSENT:
            return {"kind": "absent"}
        self.checkpoint()
        self.sync(DB)
        main = self.files[DB]
        other = main._replace(file="b" if main.file == "a" else "a")
        self._duplicate(other, SNAPSHOT_PART, SNAPSHOT)
        return {"kind": "copy", "stamp": list(_stamp(self.files[DB]))}

    def prepare(self, record: dict[str, Any]) -> None:
        self._end_orphans()
        if record["kind"] == "absent":
            self._remove_database()
            return
        if self._is_untouched(record):
            return
        copy = self._checked_copy(record)
        self._duplicate(copy._replace(file="c"), None, DB_STAGED)
        self._clear_for_another()
        self._put(self.files[DB_STAGED])
        self.remove(DB_STAGED)

    def migrate_to(self, schema: int | str) -> None:
        """The app's own program writes: SQLite keeps each of its transactions whole."""
        seen = self.files[DB]
        change_main(self.world, Data(1, True, "a") if seen is ABSENT else seen)
        change_main(self.world, self.files[DB]._replace(schema=schema))

    def adopt(self) -> None:
        self._end_orphans()
        if self.files[DB] is not ABSENT:
            self.sync(DB)
            if self.files[LOG] is not ABSENT:
                self.sync(LOG)
            self.sync_folder("data")

    def restore(self, record: dict[str, Any]) -> None:
        self._end_orphans()
        if self.files[RESTORED] is not ABSENT:
            return
        if record["kind"] == "absent":
            if self.files[DB] is not ABSENT:
                self._clear_for_another(keep=True)
            self._remove_database()
        elif not self._is_untouched(record):
            copy = self._checked_copy(record)
            if _stamp(self.files[DB])[1:] != _stamp(copy)[1:]:
                self._clear_for_another(keep=True)
                self._put(copy)
        self.sync_folder("data")
        self.replace(RESTORED, RESTORED_NEW, WHOLE)

    def release_snapshot(self) -> None:
        self.remove(SNAPSHOT)
        self.remove(RESTORED)

    def has_changed(self, record: dict[str, Any]) -> bool:
        """Whether the schema is not the one of the snapshot."""
        seen = self.world.database()
        if record["kind"] == "absent":
            return seen is not ABSENT
        if seen is ABSENT:
            return True
        if not isinstance(seen, Data):
            raise DatabaseError("The database cannot be read.")
        return bool(seen.schema != record["stamp"][0])

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

    def _clear_for_another(self, *, keep: bool = False) -> None:
        if self.files[DB] is ABSENT:
            self._remove_log()
            return
        if isinstance(self.world.database(), Data):
            self.checkpoint()
        if keep:
            self.call("keep what is replaced")
        self._remove_log()

    def _put(self, content: Any) -> None:
        """The file has both names at once: a hard link, and then a rename."""
        if self.call("link to .app.db.put"):
            self.disk.link(DB_PUT, content)
        self.rename(DB_PUT, DB)
        self.sync_folder("data")

    def _remove_log(self) -> None:
        self.unlink(LOG)
        self.sync_folder("data")

    def _remove_database(self) -> None:
        self._remove_log()
        self.remove(DB)

    def _end_orphans(self) -> None:
        if self.call("end what a killed migration has left"):
            self.world.orphan = False

    def _is_untouched(self, record: dict[str, Any]) -> bool:
        return _stamp(self.files[DB]) == tuple(record["stamp"]) and self.files[LOG] is ABSENT

    def _checked_copy(self, record: dict[str, Any]) -> Data:
        copy = self.files[SNAPSHOT]
        if not self.scenario.copy_stays_good or not isinstance(copy, Data):
            raise DatabaseError("The snapshot cannot be read; the database was left as it was.")
        if copy.schema != record["stamp"][0]:
            raise DatabaseError("The snapshot does not have its content any more.")
        return copy


def _stamp(content: Any) -> tuple[Any, Any]:
    """A change of the schema, or another file, is seen."""
    return (content.schema, content.file) if isinstance(content, Data) else (content, None)
