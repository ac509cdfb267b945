"""The databases' part of an update: snapshot, migration, putting back, what is known of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

from surefoot import durable
from surefoot.databases import backups, database, migrations, snapshot
from surefoot.databases.snapshot import Snapshot
from surefoot.errors import DatabaseError, MigrationError
from surefoot.releases import processes
from surefoot.update import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.config import Database as Settings
    from surefoot.databases.database import Database
    from surefoot.home import Home
    from surefoot.releases.ledger import Ledger
    from surefoot.releases.store import Store
    from surefoot.update.lock import Update

DESCRIPTION = "update.json"
"""In a snapshot's folder, written last: the update that it belongs to."""


class Tell(Protocol):
    """Takes the update, an event's name and its sentence."""

    def __call__(self, update: Update, event: str, text: str) -> None: ...


@dataclass(frozen=True)
class Databases:
    """All that the configuration names, in one home."""

    home: Home
    config: Config
    store: Store
    tell: Tell

    def __iter__(self) -> Iterator[Database]:
        return (self.get(name) for name in self.config.database)

    def get(self, name: str) -> Database:
        """Raises DatabaseError where the configuration does not name it."""
        return database.of(name, self._settings(name), self.home.root)

    # -- towards the new release

    def take(self, update: Update) -> Update:
        """Makes it possible to put all of them back; returns the update with the records."""
        folder = self.folder(update)
        self.undo(folder)
        durable.remove_tree(folder.parent)  # whatever lies there belongs to no update any more
        durable.make_folder(folder, mode=0o700)
        pending = self.pending(update)
        taken = [self._take(update, found, pending) for found in self]
        records = [msgspec.to_builtins(record) for record in taken if record is not None]
        update = msgspec.structs.replace(update, snapshots=records, pending=pending)
        self.describe(update)
        return update

    def _take(self, update: Update, found: Database, pending: list[str]) -> Snapshot | None:
        name, settings = found.name, self._settings(found.name)
        by_itself = settings.migrate == "auto" and self._migration(update, name) is None
        return found.take(
            self.folder(update),
            redirectable=name in update.heeded,
            replaced=self._replacement(update, name) is not None,
            switchable=update.switchable,
            may_change=name in pending or by_itself,
        )

    def undo(self, folder: Path) -> None:
        """What only taking a snapshot has changed, of which the lock knows nothing."""
        for taken in snapshot.only_taken(folder):
            snapshot.restore(taken, self.home.backups)

    def migrate(self, update: Update) -> Update:
        """From the snapshots' state, whatever an earlier try has left; returns the update with the
        databases that were written to: by ATTACH or an alias also those that are not pending."""
        for taken in snapshots(update):
            snapshot.prepare(taken)
        for taken in snapshots(update):
            if taken.name not in update.pending:
                continue
            if backup := self._replacement(update, taken.name):
                self.get(taken.name).put(
                    self._backup(backup)[0],
                    self.home.backups,
                    update=update.id,
                    release=update.from_ or "",
                )
            else:
                self._run_migration(update, taken)
        written = [taken.name for taken in snapshots(update) if snapshot.was_written(taken)]
        for taken in snapshots(update):
            snapshot.adopt(taken)
        for name in update.pending:
            self._check_migrated(update, name)
        update = msgspec.structs.replace(update, written=written)
        if not set(written) <= set(update.pending):
            self.describe(update)
        return update

    def keep(self, update: Update) -> None:
        """Before the release is started on them: they can be put back whatever it does."""
        for taken in snapshots(update):
            snapshot.keep(taken)

    def has_migrated_data(self, update: Update) -> bool:
        """Whether there was anything that could be harmed."""
        return any(
            taken.name in update.pending and not isinstance(taken, snapshot.Absent)
            for taken in snapshots(update)
        )

    # -- and back

    def put_back(self, update: Update) -> None:
        """All of them become what they were, or the backup that a person has chosen instead."""
        rescued = self._put_rescue(update)
        if not update.snapshots:
            for found in self:
                found.settle()
            self.undo(self.folder(update))
        for taken in snapshots(update):
            if taken.name != rescued and _is_to_be_put_back(update, taken):
                kept = snapshot.restore(
                    taken, self.home.backups, update=update.id, release=update.to or ""
                )
                where = kept or snapshot.kept_beside(taken)
                also = f" What was written since is kept in {where}." if where else ""
                self.tell(update, "restored", f"Database {taken.name} is as it was.{also}")
        lost = {*update.pending} - {taken.name for taken in snapshots(update)} - {rescued}
        if lost:
            raise DatabaseError(
                f"The snapshot of the database {', '.join(sorted(lost))} is lost.",
                next_step="Put a backup back: `surefoot restore BACKUP` (`surefoot backups`).",
            )

    def give_up(self, update: Update) -> None:
        """From here on nothing is put back."""
        folder = self.folder(update)
        if folder.is_dir():  # first of all: half of a snapshot is none to be put back
            durable.discard(folder / DESCRIPTION)
        for taken in snapshots(update):
            snapshot.release(taken)
        durable.remove_tree(folder.parent)

    def describe(self, update: Update) -> None:
        """Leaves beside the snapshots what a start goes by if the lock itself is damaged."""
        if (folder := self.folder(update)).is_dir():
            lock.write(folder / DESCRIPTION, update)

    def sweep(self, *, replaced: bool = False) -> None:
        """No snapshot is in use. What cannot be removed now is removed another time."""
        for each in self:
            with contextlib.suppress(DatabaseError):
                each.sweep(replaced=replaced)

    # -- what is known of them

    def pending(self, update: Update) -> list[str]:
        """Those that the update may migrate."""
        return [name for name in self.config.database if self._is_pending(update, name)]

    def code(self, release: str) -> Path:
        """Where the commands of a release are run."""
        return self.store.folder(release) / "app" / self.config.app.directory

    def migrating(self, update: Update) -> Path:
        """The folder of the release whose code migrates: the way back is known to the newer one."""
        is_back = update.kind == "rollback"
        return self.store.folder((update.from_ if is_back else update.to) or "")

    def folder(self, update: Update) -> Path:
        """Where the snapshots of this update lie."""
        return self.home.backups / "in_flight" / update.id

    def schemas(self) -> dict[str, str]:
        """Of every one that can be read: a commit does not fail for one that cannot."""
        found = {}
        for each in self:
            with contextlib.suppress(DatabaseError):
                found[each.name] = each.schema()
        return found

    def fit(self, release: str, ledger: Ledger) -> bool:
        """Whether they are as this release knows them."""
        if ledger.newest_first()[:1] == [release]:
            return True
        found = self.schemas()
        return all(
            found.get(name) is not None and ledger.schema_at_commit(release, name) == found[name]
            for name in self.config.database
        )

    def newest_backup(self, name: str, release: str) -> backups.Kept | None:
        """The newest sound one of the database that was made while the release was in use."""
        wanted = (name, release, "before_update")
        for kept in backups.all(self.home.backups):
            facts = kept.facts
            if facts and kept.is_good and (facts.database, facts.release, facts.kind) == wanted:
                return kept
        return None

    def known_schemas(self, name: str, release: str, ledger: Ledger) -> set[str]:
        """Those that the database is known to have had while the release was in use: at its commit,
        and after what the app itself may have added later."""
        kept = self.newest_backup(name, release)
        later = kept.facts.schema_digest if kept and kept.facts else None
        found = (ledger.schema_at_commit(release, name), later)
        return {digest for digest in found if digest}

    def moved_on(self, release: str, ledger: Ledger, *, but: str) -> list[str]:
        """The databases other than `but` that are known to have a schema which they did not have
        under this release."""
        return [
            name
            for name, settings in self.config.database.items()
            if name != but
            and settings.migrate != "none"
            and (known := self.known_schemas(name, release, ledger))
            and self.get(name).schema() not in known
        ]

    # -- parts

    def _settings(self, name: str) -> Settings:
        try:
            return self.config.database[name]
        except KeyError:
            raise DatabaseError(f"surefoot.toml does not know the database {name}.") from None

    def _migration(self, update: Update, name: str) -> migrations.Migration | None:
        if update.kind == "rollback":
            steps = update.downgrades.get(name)
            newer = self.code(update.from_ or "")
            found = migrations.detect(newer, self._settings(name), name) if steps else None
            return migrations.downgrade_by(steps, found) if steps and found else None
        return migrations.detect(self.code(update.to or ""), self._settings(name), name)

    def _replacement(self, update: Update, name: str) -> str | None:
        """The backup that takes the place of this database."""
        if update.kind == "restore":
            facts = self._backup(update.backup)[1]
            return update.backup if facts.database == name else None
        return update.restores.get(name)

    def _is_pending(self, update: Update, name: str) -> bool:
        if self._replacement(update, name):
            return True
        if name in update.settled:
            return False
        found = self._migration(update, name) if update.kind != "restore" else None
        return found is not None and migrations.pending(found, self.get(name)) is not False

    def _run_migration(self, update: Update, taken: Snapshot) -> None:
        found = self._migration(update, taken.name)
        settings = self._settings(taken.name)
        if found is None:
            return
        self.tell(update, "migrating", f"Migrating database {taken.name}.")
        folder = self.migrating(update)
        variables = processes.command_environment(folder, self.home, self.config)
        # A migration may reach more than one of them, with ATTACH or an alias.
        for other in snapshots(update):
            told = self._settings(other.name)
            variables |= snapshot.migration_environment(other, told.variable, told.scheme)
        migrations.run(
            found,
            environment=variables,
            cwd=folder / "app" / self.config.app.directory,
            timeout_s=settings.timeout_s,
            pass_fds=tuple(fd for each in snapshots(update) for fd in snapshot.pass_fds(each)),
            within=snapshot.within(snapshots(update)),
        )

    def _check_migrated(self, update: Update, name: str) -> None:
        """Raises MigrationError where Alembic has gone to another database, or has only printed
        what it would do."""
        found = None if self._replacement(update, name) else self._migration(update, name)
        if found is None or found.steps or not migrations.pending(found, self.get(name)):
            return
        raise MigrationError(
            f"The migration `{found.command}` ended well, but {self.get(name).place} was not "
            "migrated.",
            next_step="It must go where `url` and `variable` in [database] say: look at what "
            "env.py goes by.",
        )

    def _put_rescue(self, update: Update) -> str | None:
        """Puts the backup back that a person has chosen; returns the database's name."""
        if update.rescue is None:
            return None
        kept, facts = self._backup(update.rescue)
        backups.verify(kept)
        for taken in snapshots(update):
            if taken.name == facts.database and isinstance(taken, snapshot.Pinned):
                snapshot.release(taken)
        replaced = self.get(facts.database).put(
            kept, self.home.backups, update=update.id, release=update.to or ""
        )
        also = f" What it replaces is kept in {replaced}." if replaced else ""
        self.tell(update, "restored", f"Database {facts.database} is backup {kept.name}.{also}")
        return facts.database

    def _backup(self, name: str | None) -> tuple[backups.Kept, backups.Facts]:
        kept = backups.get(self.home.backups, name or "")
        if kept.facts is None:
            raise DatabaseError(f"The backup {kept.name} cannot be used: {kept.damage}.")
        return kept, kept.facts


def snapshots(update: Update) -> list[Snapshot]:
    """The records that the update's lock holds."""
    return [msgspec.convert(record, Snapshot) for record in update.snapshots]


def _is_to_be_put_back(update: Update, taken: Snapshot) -> bool:
    """Whether what was written since may be a migration's. Else it belongs to users, and stays."""
    migrated = {*update.pending, *(update.written or ())}
    is_half_way = bool(update.pending) and update.written is None
    return is_half_way or taken.name in migrated or snapshot.has_changed(taken)


def ways(update: Update) -> dict[str, str]:
    """How the snapshot of each database was taken, and why not faster; for people."""
    return {
        taken.name: f"{taken.way} ({taken.reason})" if taken.reason else taken.way
        for taken in snapshots(update)
    }
