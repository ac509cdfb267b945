"""The verbs of `surefoot.databases.snapshot`, by the kind of the snapshot."""

from __future__ import annotations

from typing import Any

from tests.simulation.cloning import Clones
from tests.simulation.disk import ABSENT
from tests.simulation.pinning import Pins
from tests.simulation.primitives import migrate_to, migrating
from tests.simulation.world import DB, Data

from surefoot.errors import DatabaseError, MigrationError


class Database(Pins, Clones):
    """All of it is called as `surefoot.update.databases` does it."""

    def take(self) -> dict[str, Any]:
        kind = self.scenario.snapshot
        if self.files[DB] is ABSENT or kind == "copy":
            return self.take_copy()
        return self.take_clone() if kind == "clone" else self.take_pin(in_place=kind != "pin")

    def prepare(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "pin":
                self.prepare_pin(record)
            case "clone":
                self.prepare_clone(record)
            case _:
                self.prepare_copy(record)

    def migrate_to(self, record: dict[str, Any], schema: int | str) -> None:
        kind = works_on(record)
        if kind == "pin" and migrating(self.world, kind) is ABSENT:
            raise MigrationError("There is no link to the database.")
        migrate_to(self.world, kind, schema)

    def adopt(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "pin":
                self.adopt_pin(record)
            case "clone":
                self.adopt_clone(record)
            case _:
                self.adopt_copy()

    def restore(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "pin":
                self.restore_pin(record)
            case "clone":
                self.restore_clone(record)
            case _:
                self.restore_copy(record)

    def release_snapshot(self, record: dict[str, Any]) -> None:
        match record["kind"]:
            case "pin":
                self.release_pin()
            case "clone":
                self.release_clone()
            case _:
                self.release_copy()

    def has_changed(self, record: dict[str, Any]) -> bool:
        """Whether the schema is not the one of the snapshot."""
        seen = self.world.database()
        if record["kind"] == "absent":
            return seen is not ABSENT
        if record["kind"] == "clone" and self.world.is_closed():
            return True
        if seen is ABSENT:
            return True
        if not isinstance(seen, Data):
            raise DatabaseError("The database cannot be read.")
        return bool(seen.schema != record["stamp"][0])


def works_on(record: dict[str, Any]) -> str:
    """Where a migration works."""
    if record["kind"] == "pin":
        return "pin in place" if record["in_place"] else "pin"
    return "clone" if record["kind"] == "clone" and record["redirected"] else "copy"
