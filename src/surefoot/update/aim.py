"""The aim of an update: which release or backup a request means, and whether it may be gone to.

Nothing is written here, and what is refused has changed nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from surefoot.databases import backups
from surefoot.errors import ExitCode, RefusedError
from surefoot.releases.git import GitSource
from surefoot.update.answering import AnsweredError

if TYPE_CHECKING:
    from surefoot.databases.backups import Facts, Kept
    from surefoot.update.local import LocalHost
    from surefoot.update.lock import Update
    from surefoot.update.requests import Request

MAX_ABANDONED = 3
"""How often the schedule tries a release that cannot be staged."""


def of(request: Request, host: LocalHost) -> Update:
    """The update that a request means, with its release.

    Raises RefusedError or AnsweredError where it is not to be begun; SourceError or DatabaseError
    where what it names is not to be had.
    """
    if host.store.is_obstructed():
        raise RefusedError(
            f"{host.home.current} is not the symlink that Surefoot makes.",
            next_step="Move it away; the next start makes it again.",
        )
    update, current = request.begin(), host.store.current_id()
    match request.kind:
        case "restore":
            return _at_backup(update, host)
        case "rollback":
            update = _at_earlier(update, host)
        case "update":
            update = _at_source(update, host)
            _check_wanted(request, update, current, host)
    if update.to == current and current is not None and host.store.is_startable(current):
        raise AnsweredError(
            "up_to_date", f"Release {current} ({update.ref}) is in use already.", ExitCode.OK
        )
    return update


def again(broken: Update, request: Request, host: LocalHost) -> Update:
    """What is broken, to be put back once more; with a backup, that takes the place of the snapshot
    of its database.

    Raises RefusedError, or DatabaseError where the backup is not sound.
    """
    update = msgspec.structs.replace(broken, id=request.id)
    if request.kind == "rollback":
        return update
    kept, facts = _backup(request.backup, host)
    if facts.release != update.from_ and request.ref is None:
        raise RefusedError(
            f"The backup belongs to release {facts.release}, and {update.from_} is to be gone back "
            "to. Nothing was changed.",
            next_step="Bring its release back with it: add `--with-release`.",
        )
    if not host.store.is_whole(facts.release):
        raise RefusedError(f"Release {facts.release}, which the backup belongs to, is not on disk.")
    return msgspec.structs.replace(update, rescue=kept.name, from_=facts.release)


def _at_source(update: Update, host: LocalHost) -> Update:
    """At what the source calls so now."""
    found = GitSource(host.home.mirror, host.config.source).resolve(update.ref)
    return msgspec.structs.replace(update, ref=found.ref, to=found.commit[:12], commit=found.commit)


def _at_earlier(update: Update, host: LocalHost) -> Update:
    """At a release that is still on disk, without asking the source, or at one that was."""
    wanted = update.ref or host.ledger().previous()
    if wanted is None:
        raise RefusedError(
            "There is no release before the current one.",
            next_step="`surefoot releases` lists what is there.",
        )
    known = host.store.find(wanted)
    if known is None:
        return _at_source(msgspec.structs.replace(update, ref=wanted), host)
    return msgspec.structs.replace(update, ref=known.ref, to=known.id, commit=known.commit)


def _check_wanted(request: Request, update: Update, current: str | None, host: LocalHost) -> None:
    """A release that failed is not tried again, unless it is asked for by name."""
    ledger = host.ledger()
    release = update.to or ""
    denied = ledger.denied.get(release)
    unasked = request.ref is None or request.origin == "install"
    if denied and unasked and release != current:
        raise AnsweredError(
            "refused",
            f"Release {release} ({update.ref}) was rolled back and is not tried again by "
            f"itself: {denied.reason} To try it all the same: "
            f"`surefoot update --to {update.ref}`.",
            ExitCode.REFUSED,
        )
    if request.origin == "schedule" and ledger.abandoned.get(release, 0) >= MAX_ABANDONED:
        raise AnsweredError(
            "refused",
            f"Release {release} could not be staged {MAX_ABANDONED} times.",
            ExitCode.REFUSED,
        )


def _at_backup(update: Update, host: LocalHost) -> Update:
    """At the release in use, or together with the one that the backup belongs to."""
    _, facts = _backup(update.backup, host)
    release, target = facts.release, host.store.current_id()
    database = host.databases.get(facts.database)
    if update.ref is not None:
        if host.store.get(release) is None:
            raise RefusedError(
                f"Release {release}, which the backup belongs to, is not on disk.",
                next_step=f"Bring it back first: `surefoot update --to {release}`.",
            )
        _check_others_fit(release, facts.database, host)
        target = release
    elif database.exists() and database.schema() != facts.schema_digest:
        raise RefusedError(
            f"The backup has the schema of release {release}, which is not the one that is in "
            "use. Nothing was changed.",
            next_step="Bring that release back with it: add `--with-release`.",
        )
    return msgspec.structs.replace(update, to=target)


def _check_others_fit(release: str, database: str, host: LocalHost) -> None:
    """A backup is of one database; what else the release works with must fit it as it is."""
    moved_on = host.databases.moved_on(release, host.ledger(), but=database)
    if moved_on:
        raise RefusedError(
            f"The backup is of database {database} alone, and {' and '.join(moved_on)} has "
            f"been migrated since release {release}. Nothing was changed.",
            next_step=f"`surefoot rollback {release}` takes all of them back.",
        )


def _backup(name: str | None, host: LocalHost) -> tuple[Kept, Facts]:
    """A backup that was read and found sound, of a database that is known."""
    kept = backups.get(host.home.backups, name or "")
    backups.verify(kept)
    if kept.facts is None or kept.facts.database not in host.config.database:
        raise RefusedError(f"surefoot.toml does not know the database of backup {kept.name}.")
    return kept, kept.facts
