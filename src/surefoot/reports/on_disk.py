"""The releases and the backups that are on disk."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from surefoot.databases import backups as kept_backups
from surefoot.releases.store import Store
from surefoot.update.remembered import seen_ledger

if TYPE_CHECKING:
    from surefoot.databases.backups import Kept
    from surefoot.home import Home
    from surefoot.releases.store import Release as Stored


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release on disk."""

    id: str
    ref: str
    version: str | None
    commit: str
    current: bool
    created_at: datetime
    committed_at: datetime | None
    denied: str | None
    """Why it is not tried again by itself."""


def releases(home: Home) -> tuple[list[Release], str]:
    """Those on disk, the newest first, and what is wrong with the ledger."""
    store = Store(home)
    current = store.current_id()
    ledger, problem = seen_ledger(home)
    committed = {commit.release: commit.at for commit in ledger.commits}

    def told(release: Stored) -> Release:
        denied = ledger.denied.get(release.id)
        return Release(
            id=release.id,
            ref=release.ref,
            version=release.version,
            commit=release.commit,
            current=release.id == current,
            created_at=release.created_at,
            committed_at=committed.get(release.id),
            denied=denied.reason if denied else None,
        )

    return [told(release) for release in reversed(store.all())], problem


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup on disk, with what is known of it."""

    name: str
    file: str
    damage: str | None
    kind: str | None
    """`before_update`, or `replaced` for what stood where a backup or a snapshot was put back."""
    made_at: datetime | None
    database: str | None
    release: str | None
    update: str | None
    size_bytes: int | None


def backup(kept: Kept) -> Backup:
    """What is known of one."""
    facts = kept.facts
    return Backup(
        name=kept.name,
        file=str(kept.file),
        damage=kept.damage or None,
        kind=facts.kind if facts else None,
        made_at=facts.made_at if facts else None,
        database=facts.database if facts else None,
        release=facts.release if facts else None,
        update=facts.update if facts else None,
        size_bytes=facts.size_bytes if facts else None,
    )


def backups(home: Home) -> list[Backup]:
    """The newest first."""
    return [backup(kept) for kept in kept_backups.all(home.backups)]
