"""Going back to an earlier release after its commit: what becomes of the databases.

Of each database the first of these that serves:

1. It has a schema that it had under that release, or its revisions: the code goes back alone.
2. The app's own downgrade, by the code of the release that is left, is tried on a copy and loses no
   row: code and schema go back, the data stays.
3. A backup that belongs to the release takes its place. What was written since is then no longer
   in the app, so this is never done unasked: it is said what would be lost.

Nothing is changed here: what is decided goes into the update.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from surefoot.databases import comparison, migrations
from surefoot.errors import DatabaseError, HeldError
from surefoot.update.rehearsal import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from surefoot.config import Config
    from surefoot.databases.backups import Kept
    from surefoot.databases.database import Database
    from surefoot.home import Home
    from surefoot.releases.ledger import Ledger
    from surefoot.releases.store import Release
    from surefoot.update.databases import Databases
    from surefoot.update.lock import Update
    from surefoot.update.trial import Tell


@dataclass
class GoingBack:
    """Of one rollback, whose release lies whole on the disk."""

    home: Home
    config: Config
    update: Update
    release: Release
    databases: Databases
    ledger: Ledger
    tell: Tell

    def decide(self, made: dict[str, Kept]) -> Update:
        """The update with the ways that were found. `made`: the databases as they are now.

        Raises HeldError where a person must agree; nothing was changed.
        """
        downgrades, refused = {}, {}
        for database in self.databases:
            if not database.exists() or self._fits(database):
                continue
            try:
                downgrades[database.name] = self._downgrade(database)
            except DatabaseError as error:
                refused[database.name] = error.message
        update = self.update
        if downgrades:
            update, lossy = Rehearsal(
                self.home,
                self.config,
                update,
                self.databases.store.folder(self.release.id),
                self.databases,
                made,
                self.tell,
            ).go_back(downgrades, self._backups(downgrades))
            refused |= lossy
        return self._with_backups(update, refused, made) if refused else update

    def _fits(self, database: Database) -> bool:
        """Whether the release can work on the database as it is."""
        name = database.name
        if self.config.database[name].migrate == "none":
            return True
        known = self.databases.known_schemas(name, self.release.id, self.ledger)
        if database.schema() in known:
            return True
        if not known and not self._is_migrated(name):
            return True  # nothing is known that speaks against it
        heads = self.release.migrations.get(name)
        return heads is not None and sorted(heads) == database.revisions()

    def _is_migrated(self, name: str) -> bool:
        """Whether a tool that is known migrates it; else the app may do so by itself."""
        releases = (self.release.id, self.update.from_)
        return any(self._at(release, name) is not None for release in releases)

    def _at(self, release: str | None, name: str) -> migrations.Migration | None:
        if release is None or not self.databases.store.code(release).is_dir():
            return None
        return migrations.detect(self.databases.code(release), self.config.database[name], name)

    def _downgrade(self, database: Database) -> migrations.Migration:
        name = database.name
        if not self._is_migrated(name):
            raise DatabaseError(
                "The app itself has changed its schema, and no way back is known. (If every "
                'release works on any schema: `migrate = "none"` in [database].)'
            )
        kept = self.databases.newest_backup(name, self.release.id)
        return migrations.downgrade(
            self._at(self.update.from_, name),
            database,
            self.release.migrations.get(name),
            kept.facts.applied if kept and kept.facts else [],
        )

    def _with_backups(
        self, update: Update, refused: dict[str, str], made: dict[str, Kept]
    ) -> Update:
        found = self._backups(refused)
        why = " ".join(
            f"Database {name} has been migrated since release {self.release.id}: {reason}"
            for name, reason in refused.items()
        )
        if missing := sorted(set(refused) - set(found)):
            raise HeldError(
                f"{why} There is no backup of {' and '.join(missing)} that belongs to that "
                "release, and data is never taken back silently. Nothing was changed.",
                next_step="`surefoot backups` lists those there are.",
            )
        if not update.restore_database:
            self._hold(why, found, made)
        for name, kept in found.items():
            self.tell("restoring", f"Backup {kept.name} will take the place of database {name}.")
        downgrades = {n: steps for n, steps in update.downgrades.items() if n not in refused}
        restores = {name: kept.name for name, kept in found.items()}
        return msgspec.structs.replace(update, downgrades=downgrades, restores=restores)

    def _backups(self, names: Iterable[str]) -> dict[str, Kept]:
        found = {name: self.databases.newest_backup(name, self.release.id) for name in names}
        return {name: kept for name, kept in found.items() if kept is not None}

    def _hold(self, why: str, found: dict[str, Kept], made: dict[str, Kept]) -> None:
        tables, lost = [], []
        for name, kept in found.items():
            changes = self.databases.get(name).compare(made[name], kept) if name in made else []
            losses = [comparison.in_words(change) for change in changes if change.is_loss]
            at = f"{kept.facts.made_at:%Y-%m-%d %H:%M} UTC" if kept.facts else "?"
            lost.append(f"{'; '.join(losses) or 'no row is lost'} (backup {kept.name} of {at})")
            if changes:
                tables.append(f"database {name}\n{comparison.listed(changes)}")
        next_step = (
            f"`surefoot rollback {self.update.ref or self.release.id} --restore-database` puts the "
            f"backup back. What would be lost: {', '.join(lost)}. The database as it is now would "
            "be kept."
        )
        output = "\n\n".join(tables)
        self.tell("held", f"{why} The rollback waits for a person. {next_step}", output=output)
        raise HeldError(
            f"{why} Data is never taken back silently. Nothing was changed.",
            next_step=next_step,
            output=output,
        )
