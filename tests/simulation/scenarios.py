"""What is updated, and what is wrong with it before any fault is added."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.simulation.disk import ABSENT, Disk
from tests.simulation.primitives import make_others_stale
from tests.simulation.world import (
    CODE,
    CURRENT,
    DATABASES,
    DB,
    ENV_MARKER,
    ENVIRONMENT,
    HISTORY,
    LEDGER,
    LOG,
    MARKER,
    NAMES,
    NEW,
    OLD,
    REQUEST,
    WHOLE,
    Data,
    Ledger,
    Violation,
    World,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterable

PARTS = (CODE, MARKER, ENVIRONMENT, ENV_MARKER)


@dataclass(frozen=True)
class Scenario:
    """One update, and the nature of the two releases. Asked for by a person, and by name."""

    name: str
    kind: str = "update"
    origin: str = "cli"
    installed: bool = True
    """Whether an old release runs."""
    start: str = OLD
    """The release that runs at the beginning."""
    migrates: bool = True
    migrates_by_itself: bool = False
    """The new release migrates when it starts, without having been asked."""
    overlaps: bool = False
    """Whether the new release may live beside the old one."""
    shares_environment: bool = False
    """Whether the new release runs in the environment of the old one."""
    builds: bool = True
    migration_works: bool = True
    new_is_healthy: bool = True
    old_is_healthy: bool = True
    copy_stays_good: bool = True
    """Whether the snapshot can be read when it is needed."""
    snapshot: str = "copy"
    """How it is taken: `copy`, `pin`, `pin in place` or `clone` (on a server)."""
    is_redirected: bool = True
    """Whether a migration is told to work on the clone, and does."""
    undoes_by: str = ""
    """How a rollback goes back over a migration: by the app's own `downgrade`, or by a `backup`,
    which a person has agreed to."""

    @property
    def new_schema(self) -> int:
        return 2 if self.migrates or self.migrates_by_itself else 1

    def world(self) -> World:
        """The world before the update, with the request in it."""
        files: list[object] = [ABSENT] * len(NAMES)
        files[HISTORY] = ()
        files[LEDGER] = Ledger()
        if self.installed:
            files[CURRENT] = self.start
            files[DB] = Data(1, True, "a")
            files[LEDGER] = Ledger((OLD,) if self.start == OLD else (OLD, NEW))
            files[REQUEST] = "u1"
        if self.shares_environment:
            files[ENVIRONMENT] = files[ENV_MARKER] = WHOLE
        if self.start == NEW:
            for slot in PARTS:
                files[slot] = WHOLE
            if self.new_schema == 2:
                files[DB] = Data(2, True, "a")
        world = World(Disk(files), on_server=self.snapshot == "clone")
        if self.installed:
            world.app, world.goal = self.start, "run"
        return world

    def works(self, world: World, release: str) -> bool:
        """Whether a release, once started on this world, answers well. It need not notice that the
        schema is not its own: that would show only when somebody writes."""
        seen = world.database()
        if not isinstance(seen, Data) or world.is_closed() or not is_whole(world, release):
            return False
        return self.new_is_healthy if release == NEW else self.old_is_healthy

    def use(self, world: World) -> None:
        """A user writes a row and is told that it is saved. Violation where that is a lie."""
        files = world.disk.files
        release = world.app or ""
        seen = world.database()
        wanted = self.new_schema if release == NEW else 1
        if not is_whole(world, release):
            raise Violation("whole", f"Release {release} serves and is not whole.")
        if not isinstance(seen, Data):
            raise Violation("data", f"Release {release} serves on a database that is {seen}.")
        if seen.schema != wanted:
            raise Violation(
                "whole", f"Release {release} serves on a database of schema {seen.schema}."
            )
        if world.is_closed():
            raise Violation("serves", f"Release {release} serves on a database that is closed.")
        if not seen.fresh:
            raise Violation("data", f"Release {release} serves without rows that were saved.")
        moving, own = world.disk.moving, DB if world.on_server else LOG
        if seen is not files[own] or any(
            (slot != own and getattr(files[slot], "fresh", False)) or slot in moving
            for slot in DATABASES
        ):
            make_others_stale(world)


def is_whole(world: World, release: str) -> bool:
    files = world.disk.files
    return release == OLD or all(files[slot] == WHOLE for slot in PARTS)


_MIGRATION = Scenario("migration")
_CODE_ONLY = Scenario("code-only", migrates=False)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        _MIGRATION,
        _CODE_ONLY,
        replace(_MIGRATION, name="shared-environment", shares_environment=True),
        replace(_CODE_ONLY, name="overlap", overlaps=True),
        replace(_CODE_ONLY, name="unhealthy-overlap", overlaps=True, new_is_healthy=False),
        Scenario("first-install", installed=False, origin="install"),
        replace(_MIGRATION, name="asked-by-the-app", origin="app"),
        replace(_MIGRATION, name="unhealthy", new_is_healthy=False),
        replace(_CODE_ONLY, name="unhealthy-code-only", new_is_healthy=False),
        replace(_MIGRATION, name="both-unhealthy", new_is_healthy=False, old_is_healthy=False),
        replace(_MIGRATION, name="failing-migration", migration_works=False),
        replace(_MIGRATION, name="failing-build", builds=False),
        replace(_MIGRATION, name="lost-snapshot", migration_works=False, copy_stays_good=False),
        Scenario(
            "migrates-by-itself", migrates=False, migrates_by_itself=True, new_is_healthy=False
        ),
        Scenario("unhealthy-first-install", installed=False, origin="install",
                 new_is_healthy=False),
        Scenario("rollback", kind="rollback", start=NEW, migrates=False),
        Scenario("rollback-over-a-migration", kind="rollback", start=NEW),
        Scenario("rollback-by-downgrade", kind="rollback", start=NEW, undoes_by="downgrade"),
        Scenario("rollback-to-a-backup", kind="rollback", start=NEW, undoes_by="backup"),
        replace(_MIGRATION, name="migration-that-can-go-back", undoes_by="downgrade"),
        Scenario("restore", kind="restore", migrates=False),
        Scenario("restore-of-a-bad-backup", kind="restore", migrates=False, old_is_healthy=False),
        replace(_MIGRATION, name="pinned", snapshot="pin"),
        replace(_MIGRATION, name="pinned-failing-migration", snapshot="pin",
                migration_works=False),
        replace(_MIGRATION, name="pinned-unhealthy", snapshot="pin", new_is_healthy=False),
        replace(_CODE_ONLY, name="pinned-migrates-by-itself", snapshot="pin",
                migrates_by_itself=True, new_is_healthy=False),
        replace(_MIGRATION, name="pinned-in-place", snapshot="pin in place"),
        replace(_MIGRATION, name="pinned-in-place-unhealthy", snapshot="pin in place",
                new_is_healthy=False),
        replace(_MIGRATION, name="pinned-in-place-failing-migration", snapshot="pin in place",
                migration_works=False),
        replace(_MIGRATION, name="cloned", snapshot="clone"),
        replace(_MIGRATION, name="cloned-failing-migration", snapshot="clone",
                migration_works=False),
        replace(_MIGRATION, name="cloned-unhealthy", snapshot="clone", new_is_healthy=False),
        replace(_MIGRATION, name="cloned-in-its-place-unhealthy", snapshot="clone",
                is_redirected=False, new_is_healthy=False),
    )
}  # fmt: skip


def named(names: Iterable[str]) -> list[Scenario]:
    """The scenarios of these names; all without any."""
    return [SCENARIOS[name] for name in names] or list(SCENARIOS.values())
