"""An update's migrations, tried on copies of its databases: whether they fail, how long they take,
what they do to the data.

Nothing of a release is run that is not seen, or at least said by its own code, to go where it is
told.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from surefoot.databases import comparison, migrations
from surefoot.errors import MigrationError, StageError
from surefoot.update.copies import SkippedError
from surefoot.update.mentions import mentions

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.databases.backups import Kept
    from surefoot.databases.comparison import Change
    from surefoot.databases.migrations import Migration
    from surefoot.update.copies import Copies
    from surefoot.update.databases import Databases

PROBE_TIMEOUT_S = 60.0


class Tell(Protocol):
    """Takes an event's name, its sentence and what else is known."""

    def __call__(self, event: str, text: str, **facts: Any) -> None: ...


def check_told(config: Config, names: list[str], code: Path) -> None:
    """Raises SkippedError where the code never mentions the variable of one of the databases: it
    cannot heed it, and nothing of it is run."""
    for name in names:
        variable = config.database[name].variable
        if variable and not mentions(code, variable):
            raise SkippedError(f"nothing in the release mentions {variable}")


@dataclass
class Trial:
    """Of the migrations of one update. Raises SkippedError for what cannot be tried, StageError for
    what has failed; the app was not touched."""

    copies: Copies
    tell: Tell
    heeded: list[str] = field(init=False, default_factory=list)
    """The databases whose migrations were seen to go where they were told."""
    settled: list[str] = field(init=False, default_factory=list)
    """Those of which Django has said that there is nothing to do."""

    @property
    def config(self) -> Config:
        return self.copies.config

    @property
    def databases(self) -> Databases:
        return self.copies.databases

    def is_pending(self, name: str, migration: Migration) -> bool:
        """Whether it may have something to do. Of Django only Django knows: it is asked with a
        database that has nothing but its own notes in it."""
        database = self.databases.get(name)
        if migration.kind != "django" or not database.exists():
            return migrations.pending(migration, database) is not False
        if not self.config.database[name].variable:
            return True
        folder = self.copies.folder / "notes"
        folder.mkdir(parents=True)
        nowhere = {each.name: each.nothing(folder) for each in self.databases}
        try:
            check_told(self.config, [name], migration.code)
            outline = database.outline(folder)
            if outline is None:
                return True
            migrations.run(
                migrations.check_of(migration),
                environment=self.copies.environment({**nowhere, name: outline}),
                cwd=migration.code,
                timeout_s=PROBE_TIMEOUT_S,
            )
        except (SkippedError, MigrationError):
            return True
        finally:
            shutil.rmtree(folder)
        self.settled.append(name)
        return False

    def upgrade(
        self, pending: dict[str, Migration], code: Path
    ) -> tuple[dict[str, list[Change]], float]:
        """What they have changed, by database, and how many seconds they took."""
        if not self.config.update.rehearse_migrations:
            raise SkippedError("`rehearse_migrations` is off")
        if blind := [name for name in pending if not self.config.database[name].variable]:
            names = " and ".join(blind)
            raise SkippedError(f"no variable tells it where {names} is ([database] variable)")
        check_told(self.config, list(pending), code)
        self._check_attached(code)
        self.copies.make()
        took_s: dict[str, float] = {}
        for name, migration in pending.items():
            self.tell("rehearsing", f"Rehearsing the migration of database {name} on a copy.")
            self._check_heeds(name, migration)
            before = self._schemas()
            took_s[name] = self._migrate(name, migration)
            self._check_real(name, before)
            if self.copies.made[name].schema() != before[name]:
                self.heeded.append(name)
        found = {name: copy.changes() for name, copy in self.copies.made.items()}
        for name, changes in found.items():
            is_reached = not all(change.is_none for change in changes)
            if name in pending or is_reached:
                self._tell_migrated(name, took_s.get(name), changes)
            if name not in pending and is_reached:  # so it was told of this one too
                self.heeded.append(name)
        return found, sum(took_s.values())

    def downgrade(self, name: str, migration: Migration, known: Kept | None) -> None:
        """`known`: a backup that has the schema which it is to end at."""
        if not self.config.database[name].variable:
            raise SkippedError("no variable tells it where to go ([database] variable)")
        check_told(self.config, [name], migration.code)
        self.copies.make()
        self.tell("rehearsing", f"Rehearsing the downgrade of database {name} on a copy.")
        self._check_heeds(name, migration)
        before = self._schemas()
        took_s = self._migrate(name, migration)
        self._check_real(name, before)
        self.heeded.append(name)
        copy = self.copies.made[name]
        changes = copy.changes()
        lost = [comparison.in_words(change) for change in changes if change.is_loss_of_rows]
        if lost:
            raise StageError(f"its downgrade loses data: {'; '.join(lost)}.")
        if known is not None and (other := copy.differences(known)):
            raise StageError(f"its downgrade does not bring the schema back: {', '.join(other)}.")
        self._tell_migrated(name, took_s, changes, what="downgrade")

    def _migrate(self, name: str, migration: Migration) -> float:
        """Returns how many seconds it took."""
        copy = self.copies.made[name]
        begin = monotonic()
        try:
            migrations.run(
                migration,
                environment=self.copies.environment(self.copies.made),
                cwd=migration.code,
                timeout_s=self.config.database[name].timeout_s,
            )
        except MigrationError as error:
            raise StageError(
                f"The migration of database {name} was tried on a copy. {error.message} "
                "The app was not touched.",
                output=error.output,
            ) from error
        took_s = monotonic() - begin
        if migrations.pending(migration, copy):
            raise StageError(
                f"The migration of database {name} was tried on a copy and ended well, but the "
                "copy was not migrated."
            )
        return took_s

    def _check_heeds(self, name: str, migration: Migration) -> None:
        """Alembic's env.py may ignore the variable and go for the real database: it is first asked
        for something harmless, with a database that is not there."""
        if migration.kind != "alembic":
            return
        folder = self.copies.folder / "probe"
        folder.mkdir()
        place = self.databases.get(name).nothing(folder)
        try:
            output = migrations.run(
                migrations.harmless(migration),
                environment=self.copies.environment({**self.copies.made, name: place}),
                cwd=migration.code,
                timeout_s=PROBE_TIMEOUT_S,
            )
        except MigrationError as error:
            output = error.output
            if not place.was_reached(output):
                raise StageError(
                    f"Alembic cannot be run for database {name}. {error.message} "
                    "The app was not touched.",
                    output=output,
                ) from error
        if not place.was_reached(output):
            variable = self.config.database[name].variable
            raise SkippedError(f"migrations/env.py does not go where {variable} says")
        shutil.rmtree(folder)

    def _check_attached(self, code: Path) -> None:
        """A migration that reaches another database, which it cannot be told of, would write to the
        real one."""
        untold = [name for name, each in self.config.database.items() if not each.variable]
        if untold and mentions(code, "attach database"):
            raise SkippedError(
                f"it attaches databases, and no variable tells it where {untold[0]} is "
                "([database] variable)"
            )

    def _check_real(self, name: str, before: dict[str, str]) -> None:
        now = self._schemas()
        for other in before:
            if now[other] == before[other]:
                continue
            raise StageError(
                f"The schema of the real database {other} has changed while the migration of "
                f"{name} was tried on a copy: the migration must go where "
                f"{self.config.database[other].variable or 'a variable'} says.",
                next_step="If the app does not work any more, restore the newest backup "
                "(`surefoot backups`). To update without it: `rehearse_migrations = false` in "
                "[update].",
            )

    def _tell_migrated(
        self, name: str, took_s: float | None, changes: list[Change], *, what: str = "migration"
    ) -> None:
        """`took_s`: None where it was the migration of another database that has reached it."""
        lost = [comparison.in_words(change) for change in changes if change.is_loss]
        how = (
            f"The {what} of database {name} took {took_s:.1f} s on a copy"
            if took_s is not None
            else f"Database {name} is changed by the migration of another"
        )
        self.tell(
            "migration_rehearsed",
            f"{how}; {'; '.join(lost) or 'nothing is lost'}.",
            database=name,
            duration_s=round(took_s or 0.0, 3),
            changes=[asdict(change) for change in changes],
        )

    def _schemas(self) -> dict[str, str]:
        return {database.name: database.schema() for database in self.databases}
