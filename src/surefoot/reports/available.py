"""What an update would bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from surefoot import config
from surefoot.errors import SourceError, SurefootError
from surefoot.releases.git import Change, GitSource
from surefoot.releases.store import Store, release_id
from surefoot.update.remembered import seen_ledger

if TYPE_CHECKING:
    from surefoot.home import Home


class InUse(msgspec.Struct, frozen=True, kw_only=True):
    release: str
    ref: str
    commit: str


class Newest(msgspec.Struct, frozen=True, kw_only=True):
    release: str
    ref: str
    commit: str
    version: str | None


class Available(msgspec.Struct, frozen=True, kw_only=True):
    """What an update would bring."""

    available: bool
    current: InUse | None
    newest: Newest
    denied: str | None
    """Why the newest is not tried again by itself."""
    changes: list[Change]
    """At most 50 commits, the newest first."""


@dataclass(frozen=True)
class Source:
    """The source of a home. Raises ConfigurationError where that is not known."""

    home: Home
    git: GitSource

    @classmethod
    def of(cls, home: Home) -> Source:
        return cls(home, GitSource(home.mirror, config.load(home.root).source))

    def available(self, ref: str | None = None) -> Available:
        """Asks the source for what `ref` names, else for the newest, and fetches what is new.

        Takes as long as the network does. Raises SurefootError where the source is at fault.
        """
        store, (ledger, _) = Store(self.home), seen_ledger(self.home)
        name = store.current_id()
        current = store.get(name) if name else None
        try:
            found = self.git.resolve(ref)
            is_new = current is None or current.commit != found.commit
            if is_new:
                self.git.fetch(found, lambda _line: None)
        except SourceError as error:  # here it is no update that was abandoned
            raise SurefootError(error.message, next_step=error.next_step) from None
        denied = ledger.denied.get(release_id(found.commit))
        since = current.commit if current else None
        return Available(
            available=is_new,
            current=InUse(release=current.id, ref=current.ref, commit=current.commit)
            if current
            else None,
            newest=Newest(
                release=release_id(found.commit),
                ref=found.ref,
                commit=found.commit,
                version=str(found.version) if found.version else None,
            ),
            denied=denied.reason if denied else None,
            changes=self.git.changes(since, found.commit) if is_new else [],
        )
