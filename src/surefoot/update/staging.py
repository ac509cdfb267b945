"""Staging: everything slow, while the old release serves. Failing here costs no downtime."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from surefoot import durable
from surefoot.databases import migrations
from surefoot.errors import DamagedError, DatabaseError, StageError
from surefoot.releases import build, bytecode, environment, processes
from surefoot.releases.git import Candidate, GitSource
from surefoot.releases.store import MARKER, Release
from surefoot.update import copies, room
from surefoot.update.going_back import GoingBack
from surefoot.update.lock import Update
from surefoot.update.mentions import mentions
from surefoot.update.rehearsal import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.config import Config
    from surefoot.databases.backups import Kept
    from surefoot.home import Home
    from surefoot.releases.ledger import Ledger
    from surefoot.releases.store import Store
    from surefoot.update.databases import Databases
    from surefoot.update.trial import Tell


@dataclass
class Staging:
    """Makes one release ready in `home`."""

    home: Home
    config: Config
    store: Store
    databases: Databases
    ledger: Ledger
    tell: Tell
    show: Callable[[str], None]
    """Takes what a slow command prints, line by line."""

    def stage(self, update: Update) -> Update:
        """Leaves the release of this update whole on disk and rehearsed, and a backup of every
        database; returns the update with what was learned."""
        copies.clean(self.home)
        self._check_databases()
        self.databases.sweep(replaced=True)
        self._check_room()
        release = self._ready(update) if update.kind != "restore" else None
        if release is not None:
            code = self.databases.code(release.id)
            update = msgspec.structs.replace(update, switchable=not mentions(code, "journal_mode"))
        if release is not None and update.kind == "update":
            self._check_schema(release)
        made = self._back_up(update)
        if release is None:
            return update
        if update.kind == "rollback":
            update = GoingBack(
                self.home, self.config, update, release, self.databases, self.ledger, self.tell
            ).decide(made)
        elif update.from_ is not None:  # else nobody is interrupted
            folder = self.store.folder(release.id)
            update = Rehearsal(
                self.home, self.config, update, folder, self.databases, made, self.tell
            ).run()
        if not update.rehearsed:
            warm(self.store.folder(release.id))
        return update

    def _ready(self, update: Update) -> Release:
        """The release, whole on the disk."""
        return self._whole(update) or self._with_new_environment(update) or self._make(update)

    def _check_databases(self) -> None:
        """Refuses what could only fail when nobody is served any more."""
        for database in self.databases:
            for lack in database.lacks():
                raise StageError(f"{lack.message} Nothing was changed.", next_step=lack.next_step)

    def _whole(self, update: Update) -> Release | None:
        """The release, if it is on disk with its environment; its process scripts made anew."""
        release = self._found(update)
        if release is None or not self._has_environment(release):
            return None
        if not self.store.code(release.id).is_dir():
            return None
        processes.write_processes(self.store.folder(release.id), self.home, self.config)
        # A record may have got its name, and not have lasted yet.
        made = self.home.environments / release.environment
        for folder in (self.store.folder(release.id), self.home.releases, made, made.parent):
            durable.sync_folder(folder)
        self.tell("built", f"Release {release.id} is on disk already.")
        return release

    def _found(self, update: Update) -> Release | None:
        """The release, if it is on disk; one whose record is damaged is made anew."""
        try:
            return self.store.get(update.to or "")
        except DamagedError:
            return None

    def _with_new_environment(self, update: Update) -> Release | None:
        """The release, if all it has lost is its environment, such as its Python."""
        release = self._found(update)
        if release is None:
            return None
        folder = self.store.folder(release.id)
        if not self.store.code(release.id).is_dir():
            self.store.discard(release.id)
            return None
        plan = environment.plan(folder / "app", self.config.build)
        environment.build(plan, self.home.environments, self.show)
        self.store.link_environment(release.id, plan.key)
        processes.write_processes(folder, self.home, self.config)
        release = msgspec.structs.replace(release, environment=plan.key)
        self.store.finish(release)
        self.tell("built", f"Built environment {plan.key} anew: it was not whole any more.")
        return release

    def make_again(self, release: str) -> None:
        """Makes a release that has vanished, from its commit."""
        found = GitSource(self.home.mirror, self.config.source).resolve(release)
        again = Update(id="again", ref=found.ref, to=release, commit=found.commit)
        if self._with_new_environment(again) is None:
            self._make(again)

    def _has_environment(self, release: Release) -> bool:
        return environment.is_whole(self.home.environments, release.environment)

    def _make(self, update: Update) -> Release:
        candidate = Candidate(update.ref or "", update.commit, None)
        source = GitSource(self.home.mirror, self.config.source)
        source.fetch(candidate, self.show)
        self.tell(
            "fetched", f"Fetched {update.ref or 'the newest release'} ({update.commit[:12]})."
        )
        folder = self.store.staging(update.to or "")
        code = folder / "app"
        source.export(update.commit, code)
        self.store.link_kept(folder.name, self.config.keep.paths)
        key = self._make_environment(code, folder, update.from_)
        release = Release(
            id=folder.name,
            ref=update.ref or "",
            commit=update.commit,
            environment=key,
            created_at=datetime.now(UTC),
            migrations={
                name: migrations.heads(found.code, found.section)
                for name, database in self.config.database.items()
                if (found := migrations.detect(code / self.config.app.directory, database, name))
                and found.kind == "alembic"
            },
        )
        self.store.finish(release)
        return release

    def _make_environment(self, code: Path, folder: Path, before: str | None) -> str:
        plan = environment.plan(code, self.config.build)
        reused = environment.is_whole(self.home.environments, plan.key)
        made = environment.build(plan, self.home.environments, self.show)
        self.store.link_environment(folder.name, plan.key)
        processes.write_processes(folder, self.home, self.config)
        build.run_build_commands(
            self.config.build,
            code / self.config.app.directory,
            self._build_environment(folder),
            self.show,
        )
        if before is not None and self.store.is_whole(before):
            with contextlib.suppress(OSError):  # then all of it is compiled
                record = self.store.folder(before) / MARKER
                bytecode.reuse(self.store.code(before), code, record=record)
        bytecode.compile_code(code, made / "bin" / "python", self.config.build, self.show)
        self.tell(
            "built",
            f"Environment {plan.key} is in use already: nothing was installed."
            if reused
            else f"Built environment {plan.key} with Python {plan.python_version}.",
        )
        return plan.key

    def _build_environment(self, folder: Path) -> dict[str, str]:
        """Of build commands. They are code of the new release, which must not touch a real database
        before there is a snapshot: they are told of one that is not there."""
        variables = processes.command_environment(folder, self.home, self.config)
        for database in self.databases:
            if variable := self.config.database[database.name].variable:
                variables[variable] = database.nothing(folder).url
        return variables

    def _check_schema(self, release: Release) -> None:
        """Refuses a release that cannot work on the database as it is."""
        migrations.check_distinct(self.databases.code(release.id), self.config.database)
        for database in self.databases:
            code = self.databases.code(release.id)
            found = migrations.detect(code, self.config.database[database.name], database.name)
            if found is not None and database.exists():
                migrations.check_reachable(found, database, release.id)

    def _back_up(self, update: Update) -> dict[str, Kept]:
        """The backup of each database that is there."""
        kept = {}
        for database in self.databases:
            if not database.exists():
                continue
            name = database.name
            try:
                made = database.back_up(
                    self.home.backups, update=update.id, release=update.from_ or ""
                )
            except (DatabaseError, OSError) as error:
                raise StageError(f"The database {name} could not be backed up: {error}") from error
            self.tell("backed_up", f"Backed up database {name} as {made.name}.")
            kept[name] = made
        return kept

    def _check_room(self) -> None:
        """Refuses before anything is touched if the disk could become full on the way."""
        parts = room.needed(self.home, self.store, self.databases)
        needed = sum(parts.values())
        free = shutil.disk_usage(self.home.root).free
        if free < needed:
            raise StageError(
                f"The disk has {_mb(free)} free, and the update may need {_mb(needed)} "
                f"({', '.join(f'{what} {_mb(size)}' for what, size in parts.items())})."
                " Nothing was changed.",
                next_step="Make room, or keep fewer releases ([keep] releases).",
            )


def warm(release: Path) -> None:
    """Has the kernel read what a start reads: compiled code and shared objects. What does not fit
    into memory is left out by the kernel itself."""
    for tree in (release / "app", (release / "venv").resolve()):
        for folder, _, names in os.walk(tree):
            for name in names:
                if name.endswith((".pyc", ".so")) or ".so." in name:
                    with contextlib.suppress(OSError):  # a start reads it without us as well
                        _read_ahead(Path(folder, name))


def _read_ahead(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1024 / 1024:,.0f} MB"
