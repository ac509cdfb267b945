"""The rehearsal: what a release does, found out on copies while the old release serves.

1. The migrations run on copies of the databases. One that fails ends the update. One that loses
   rows, tables or columns, or takes longer than `max_window`, holds it for a person.
2. The new release runs on those copies, on a private address, and is judged (`private_run`).

Only what can be told of a copy is rehearsed: the databases with a `variable`. What is not rehearsed
is said, with the reason. The copies lie in a folder of the update's own and go with it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from surefoot.databases import comparison, migrations
from surefoot.databases.processes import MARK, end_marked
from surefoot.errors import DatabaseError, HeldError, MigrationError, StageError
from surefoot.health.judge import Standing
from surefoot.releases import processes
from surefoot.update import private_run
from surefoot.update.judging import Judging
from surefoot.update.private_run import MARKER, PrivateRun, StrayedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.databases.backups import Kept
    from surefoot.databases.comparison import Change
    from surefoot.databases.database import Copy, Database
    from surefoot.databases.migrations import Migration
    from surefoot.health.judge import Verdict
    from surefoot.home import Home
    from surefoot.update.databases import Databases
    from surefoot.update.lock import Update

RESERVE_BYTES = 64 * 1024 * 1024
OUTPUT_LIMIT_BYTES = 64 * 1024
PROBE_TIMEOUT_S = 60.0
_CODE = (".py", ".ini", ".toml", ".cfg", ".yaml", ".yml", ".json", ".sh")
_NOT_CODE = {"node_modules", "__pycache__", ".git"}


class Tell(Protocol):
    """Takes an event's name, its sentence and what else is known."""

    def __call__(self, event: str, text: str, **facts: Any) -> None: ...


class _SkippedError(Exception):
    """It cannot be rehearsed; the message says why."""


def clean(home: Home) -> None:
    """Ends and removes what a rehearsal that was interrupted has left."""
    folder = _folder(home)
    if not folder.exists():
        return
    for left in folder.iterdir():
        end_marked(str(left))
    shutil.rmtree(folder)


def _folder(home: Home) -> Path:
    return home.backups / "rehearsal"


@dataclass
class Rehearsal:
    """Of one update, whose release lies whole in the folder `release`."""

    home: Home
    config: Config
    update: Update
    release: Path
    databases: Databases
    backups: dict[str, Kept]
    """The backup of each database that is there, made just now."""
    tell: Tell
    _copies: dict[str, Copy] = field(init=False, default_factory=dict)
    _heeded: list[str] = field(init=False, default_factory=list)
    _settled: list[str] = field(init=False, default_factory=list)

    def run(self) -> Update:
        """Returns the update with `rehearsed` set. Raises StageError, and HeldError where a person
        must agree; the app was not touched."""
        try:
            rehearsed = self._rehearsed()
            return msgspec.structs.replace(
                self.update, rehearsed=rehearsed, heeded=self._heeded, settled=self._settled
            )
        finally:
            clean(self.home)
            self.databases.sweep()

    def go_back(
        self, downgrades: dict[str, Migration], known: dict[str, Kept]
    ) -> tuple[Update, dict[str, str]]:
        """Tries the app's own downgrades, by the code of the release that is left; what is gone
        back to then runs on the same copies. `known`: backups that have the schema it needs.

        Returns the update with the downgrades that lose no row, and why the others are not taken.
        Raises StageError where the release does not work after them.
        """
        refused: dict[str, str] = {}
        try:
            for name, migration in downgrades.items():
                try:
                    self._downgrade(name, migration, known.get(name))
                except _SkippedError as error:
                    refused[name] = f"its downgrade cannot be tried on a copy: {error}."
                except StageError as error:
                    refused[name] = error.message
            rehearsed = False
            if not refused and self.config.update.rehearse_s > 0:
                skipped = self._skipped(lambda: self._try(""), f"Release {self.update.to}")
                rehearsed = not skipped and len(self.config.app.commands()) == 1
        finally:
            clean(self.home)
            self.databases.sweep()
        taken = {n: list(m.steps) for n, m in downgrades.items() if n not in refused}
        update = msgspec.structs.replace(
            self.update, downgrades=taken, rehearsed=rehearsed, heeded=self._heeded
        )
        return update, refused

    def _downgrade(self, name: str, migration: Migration, known: Kept | None) -> None:
        if not self.config.database[name].variable:
            raise _SkippedError("no variable tells it where to go ([database] variable)")
        self._check_told([name], migration.code)
        self._copy()
        self.tell("rehearsing", f"Rehearsing the downgrade of database {name} on a copy.")
        self._check_heeds(name, migration)
        before = self._schemas()
        took_s = self._migrate_copy(name, migration)
        self._check_real(name, before)
        self._heeded.append(name)
        changes = self._copies[name].changes()
        lost = [comparison.in_words(change) for change in changes if change.is_loss_of_rows]
        if lost:
            raise StageError(f"its downgrade loses data: {'; '.join(lost)}.")
        if known is not None and (other := self._copies[name].differences(known)):
            raise StageError(f"its downgrade does not bring the schema back: {', '.join(other)}.")
        self._tell_migrated(name, took_s, changes, what="downgrade")

    @property
    def _own(self) -> Path:
        return _folder(self.home) / self.update.id

    def _rehearsed(self) -> bool:
        """Whether all that runs of the app was found healthy on the copies."""
        pending = {
            name: found
            for name in self.config.database
            if (found := self._migration(name)) and self._is_pending(name, found)
        }
        unknown = ""
        if pending:
            unknown = self._skipped(lambda: self._migrate(pending), "The migration")
        if self.config.update.rehearse_s == 0:
            return False
        skipped = self._skipped(lambda: self._try(unknown), f"Release {self.update.to}")
        return not skipped and len(self.config.app.commands()) == 1

    def _skipped(self, part: Callable[[], None], what: str) -> str:
        """Why a part was not rehearsed; empty where it was."""
        try:
            part()
        except _SkippedError as error:
            self.tell("rehearsal_skipped", f"{what} is not rehearsed: {error}.", reason=str(error))
            return str(error)
        return ""

    # -- the migrations

    def _is_pending(self, name: str, migration: Migration) -> bool:
        """Whether it may have something to do. Of Django only Django knows: it is asked with a
        database that has nothing but its own notes in it."""
        database = self.databases.get(name)
        if migration.kind != "django" or not database.exists():
            return migrations.pending(migration, database) is not False
        if not self.config.database[name].variable:
            return True
        folder = self._own / "notes"
        folder.mkdir(parents=True)
        nowhere = {each.name: each.nothing(folder) for each in self.databases}
        try:
            self._check_told([name], migration.code)
            outline = database.outline(folder)
            if outline is None:
                return True
            migrations.run(
                migrations.check_of(migration),
                environment=self._migration_environment({**nowhere, name: outline}),
                cwd=migration.code,
                timeout_s=PROBE_TIMEOUT_S,
            )
        except (_SkippedError, MigrationError):
            return True
        finally:
            shutil.rmtree(folder)
        self._settled.append(name)
        return False

    def _migrate(self, pending: dict[str, Migration]) -> None:
        if not self.config.update.rehearse_migrations:
            raise _SkippedError("`rehearse_migrations` is off")
        if blind := [name for name in pending if not self.config.database[name].variable]:
            names = " and ".join(blind)
            raise _SkippedError(f"no variable tells it where {names} is ([database] variable)")
        self._check_told(list(pending), self._code())
        self._check_attached()
        self._copy()
        took_s: dict[str, float] = {}
        for name, migration in pending.items():
            self.tell("rehearsing", f"Rehearsing the migration of database {name} on a copy.")
            self._check_heeds(name, migration)
            before = self._schemas()
            took_s[name] = self._migrate_copy(name, migration)
            self._check_real(name, before)
            if self._copies[name].schema() != before[name]:
                self._heeded.append(name)
        found = {name: copy.changes() for name, copy in self._copies.items()}
        for name, changes in found.items():
            if name in pending or changes:
                self._tell_migrated(name, took_s.get(name), changes)
            if name not in pending and changes:  # so it was told of this one too
                self._heeded.append(name)
        self._hold_for_losses(found)
        self._hold_for_length(sum(took_s.values()))

    def _migrate_copy(self, name: str, migration: Migration) -> float:
        """Returns how many seconds it took."""
        begin = monotonic()
        try:
            migrations.run(
                migration,
                environment=self._migration_environment(self._copies),
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
        if migrations.pending(migration, self._copies[name]):
            raise StageError(
                f"The migration of database {name} was tried on a copy and ended well, but the "
                "copy was not migrated."
            )
        return took_s

    def _check_told(self, names: list[str], code: Path) -> None:
        """Code that never mentions the variable cannot heed it: nothing of it is run."""
        for name in names:
            variable = self.config.database[name].variable
            if variable and not mentions(code, variable):
                raise _SkippedError(f"nothing in the release mentions {variable}")

    def _check_heeds(self, name: str, migration: Migration) -> None:
        """Alembic's env.py may ignore the variable and go for the real database: it is first asked
        for something harmless, with a database that is not there."""
        if migration.kind != "alembic":
            return
        folder = self._own / "probe"
        folder.mkdir()
        place = self.databases.get(name).nothing(folder)
        try:
            output = migrations.run(
                migrations.harmless(migration),
                environment=self._migration_environment({**self._copies, name: place}),
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
            raise _SkippedError(f"migrations/env.py does not go where {variable} says")
        shutil.rmtree(folder)

    def _check_attached(self) -> None:
        """A migration that reaches another database, which it cannot be told of, would write to the
        real one."""
        untold = [name for name, each in self.config.database.items() if not each.variable]
        if untold and mentions(self._code(), "attach database"):
            raise _SkippedError(
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

    def _hold_for_losses(self, found: dict[str, list[Change]]) -> None:
        lost = [
            f"{comparison.in_words(change)} (database {name})"
            for name, changes in found.items()
            for change in changes
            if change.is_loss
        ]
        if not lost or self.update.accept_data_changes:
            return
        self._hold(
            f"The migration loses data: {'; '.join(lost)}.",
            f"To go on all the same: `surefoot update --to {self._ref} --accept-data-changes`.",
            "\n\n".join(
                f"database {name}\n{comparison.listed(changes)}"
                for name, changes in found.items()
                if changes
            ),
        )

    def _hold_for_length(self, duration_s: float) -> None:
        limit_s = self.config.update.max_window_s
        if limit_s is None or duration_s <= limit_s:
            return
        why = (
            f"The migration took {duration_s:.1f} s on a copy, which is more than `max_window` "
            f"({limit_s:g} s)."
        )
        if self.update.origin != "schedule":
            self.tell("long_window", why, duration_s=round(duration_s, 3))
            return
        self._hold(why, f"To go on all the same: `surefoot update --to {self._ref}`.")

    def _hold(self, why: str, next_step: str, output: str = "") -> None:
        self.tell("held", f"{why} The update waits for a person. {next_step}", output=output)
        raise HeldError(f"{why} The app was not touched.", next_step=next_step, output=output)

    # -- the release itself

    def _try(self, unknown: str) -> None:
        if unknown:
            raise _SkippedError("its migration was not rehearsed")
        if reason := private_run.why_not(self.config):
            raise _SkippedError(reason)
        self._check_told(list(self.config.database), self._code())
        self._copy()
        with private_run.place(self.config) as place:
            self.tell("rehearsing", f"Release {self.update.to} is tried at {place.address}.")
            mark = {MARK: str(self._own)}
            variables = processes.command_environment(
                self.release, self.home, self.config, base=os.environ
            )
            run = PrivateRun(
                place,
                private_run.environment(variables | self._urls(self._copies) | mark, place),
                self._code(),
                self._own / "output",
                list(self.databases),
            )
            with run:
                self._judge(run)

    def _judge(self, run: PrivateRun) -> None:
        try:
            verdict = self._verdict(run)
            run.check()
        except StrayedError as error:
            raise _SkippedError(str(error)) from error
        if verdict.standing is not Standing.HEALTHY:
            raise StageError(
                f"Release {self.update.to} was tried on a copy of the data. {verdict.reason} "
                "The app was not touched.",
                next_step="If it only cannot run beside the old release: `rehearse = 0` in "
                "[update].",
                output=run.said(OUTPUT_LIMIT_BYTES),
            )
        self.tell("rehearsed", f"Release {self.update.to} works on a copy. {verdict.reason}")

    def _verdict(self, run: PrivateRun) -> Verdict:
        config = private_run.at(self.config, run.place.address)
        with Judging(config, run, run.environment, run.code, None) as judging:
            return judging.judge(migrated=False)

    # -- the copies

    def _copy(self) -> None:
        """Makes a copy of every database that can be redirected, unless that was done."""
        if self._copies:
            return
        size_bytes = sum(database.size_bytes() for database in self.databases)
        if shutil.disk_usage(self.home.data).free < 2 * size_bytes + RESERVE_BYTES:
            raise _SkippedError("the disk has no room for a copy of the databases")
        self._own.mkdir(parents=True, exist_ok=True)
        for database in self.databases:
            name = database.name
            if not self.config.database[name].variable:
                continue
            try:
                self._copies[name] = database.copy(self.backups.get(name), self._own)
            except DatabaseError as error:
                self._copies.clear()
                raise _SkippedError(
                    f"the database {name} cannot be copied: {error.message.rstrip('.')}"
                ) from error

    def _urls(self, places: Mapping[str, Database]) -> dict[str, str]:
        return {
            database.variable: places[name].url
            for name, database in self.config.database.items()
            if database.variable
        }

    def _migration_environment(self, places: Mapping[str, Database]) -> dict[str, str]:
        is_back = self.update.kind == "rollback"
        folder = self.databases.migrating(self.update) if is_back else self.release
        variables = processes.command_environment(folder, self.home, self.config)
        return variables | self._urls(places) | {MARK: str(self._own), MARKER: "1"}

    # -- names

    @property
    def _ref(self) -> str:
        return self.update.ref or self.update.to or ""

    def _schemas(self) -> dict[str, str]:
        return {database.name: database.schema() for database in self.databases}

    def _code(self) -> Path:
        return processes.working_folder(self.release, self.config)

    def _migration(self, name: str) -> Migration | None:
        try:
            return migrations.detect(self._code(), self.config.database[name], name)
        except DatabaseError as error:
            raise StageError(error.message, next_step=error.next_step) from error


def mentions(code: Path, variable: str) -> bool:
    """Whether the name stands in a file that could read it, in whatever case: settings classes
    write it small."""
    wanted = variable.lower().encode()
    for folder, folders, names in os.walk(code):
        folders[:] = [name for name in folders if name not in _NOT_CODE]
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            if name.endswith(_CODE) and not os.path.islink(path):  # noqa: PTH114
                with open(path, "rb") as file:  # noqa: PTH123
                    if wanted in file.read().lower():
                        return True
    return False
