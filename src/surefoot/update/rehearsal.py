"""The rehearsal: what a release does, found out on copies while the old release serves.

1. The migrations run on copies of the databases (`trial`). One that fails ends the update. One that
   loses rows, tables or columns, or takes longer than `max_window`, holds it for a person.
2. The new release runs on those copies, on a private address, and is judged (`private_run`).

Only what can be told of a copy is rehearsed: the databases with a `variable`. What is not rehearsed
is said, with the reason. The copies lie in a folder of the update's own and go with it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from surefoot.databases import comparison, migrations
from surefoot.errors import DatabaseError, HeldError, StageError
from surefoot.health.judge import Standing
from surefoot.releases import processes
from surefoot.update import private_run
from surefoot.update.copies import Copies, SkippedError, clean
from surefoot.update.judging import Judging
from surefoot.update.private_run import PrivateRun, StrayedError
from surefoot.update.trial import Trial, check_told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.databases.backups import Kept
    from surefoot.databases.comparison import Change
    from surefoot.databases.migrations import Migration
    from surefoot.health.judge import Verdict
    from surefoot.home import Home
    from surefoot.update.databases import Databases
    from surefoot.update.lock import Update
    from surefoot.update.trial import Tell

OUTPUT_LIMIT_BYTES = 64 * 1024


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
    _copies: Copies = field(init=False)
    _trial: Trial = field(init=False)

    def __post_init__(self) -> None:
        self._copies = Copies(
            self.home, self.config, self.update, self.release, self.databases, self.backups
        )
        self._trial = Trial(self._copies, self.tell)

    def run(self) -> Update:
        """Returns the update with `rehearsed` set. Raises StageError, and HeldError where a person
        must agree; the app was not touched."""
        try:
            rehearsed = self._rehearsed()
            return msgspec.structs.replace(
                self.update,
                rehearsed=rehearsed,
                heeded=self._trial.heeded,
                settled=self._trial.settled,
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
                    self._trial.downgrade(name, migration, known.get(name))
                except SkippedError as error:
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
            self.update, downgrades=taken, rehearsed=rehearsed, heeded=self._trial.heeded
        )
        return update, refused

    def _rehearsed(self) -> bool:
        """Whether all that runs of the app was found healthy on the copies."""
        pending = {
            name: found
            for name in self.config.database
            if (found := self._migration(name)) and self._trial.is_pending(name, found)
        }
        unknown = ""
        if pending:
            unknown = self._skipped(lambda: self._migrate(pending), "The migration")
        if self.config.update.rehearse_s == 0:
            return False
        skipped = self._skipped(lambda: self._try(unknown), f"Release {self.update.to}")
        return not skipped and len(self.config.app.commands()) == 1

    def _migrate(self, pending: dict[str, Migration]) -> None:
        changes, took_s = self._trial.upgrade(pending, self._code())
        self._hold_for_losses(changes)
        self._hold_for_length(took_s)

    def _skipped(self, part: Callable[[], None], what: str) -> str:
        """Why a part was not rehearsed; empty where it was."""
        try:
            part()
        except SkippedError as error:
            self.tell("rehearsal_skipped", f"{what} is not rehearsed: {error}.", reason=str(error))
            return str(error)
        return ""

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
                if not all(change.is_none for change in changes)
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

    def _try(self, unknown: str) -> None:
        if unknown:
            raise SkippedError("its migration was not rehearsed")
        if reason := private_run.why_not(self.config):
            raise SkippedError(reason)
        check_told(self.config, list(self.config.database), self._code())
        self._copies.make()
        with private_run.place(self.config) as place:
            self.tell("rehearsing", f"Release {self.update.to} is tried at {place.address}.")
            variables = processes.command_environment(
                self.release, self.home, self.config, base=os.environ
            )
            told = self._copies.urls(self._copies.made) | self._copies.mark
            run = PrivateRun(
                place,
                private_run.environment(variables | told, place),
                self._code(),
                self._copies.folder / "output",
                list(self.databases),
            )
            with run:
                self._judge(run)

    def _judge(self, run: PrivateRun) -> None:
        try:
            verdict = self._verdict(run)
            run.check()
        except StrayedError as error:
            raise SkippedError(str(error)) from error
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

    @property
    def _ref(self) -> str:
        return self.update.ref or self.update.to or ""

    def _code(self) -> Path:
        return processes.working_folder(self.release, self.config)

    def _migration(self, name: str) -> Migration | None:
        try:
            return migrations.detect(self._code(), self.config.database[name], name)
        except DatabaseError as error:
            raise StageError(error.message, next_step=error.next_step) from error
