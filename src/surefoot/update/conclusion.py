"""The conclusion of an update that has ended: it stands in ledger and history, the lock goes, and
so does what nobody needs any more."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from surefoot.databases import retention
from surefoot.errors import SurefootError
from surefoot.releases.prune import prune
from surefoot.update import copies, outcome, remembered
from surefoot.update.causes import Cause
from surefoot.update.states import State

if TYPE_CHECKING:
    from surefoot.config import Config
    from surefoot.home import Home
    from surefoot.releases.store import Store
    from surefoot.update.databases import Databases
    from surefoot.update.history import History
    from surefoot.update.lock import Lock, Update


@dataclass(frozen=True)
class Conclusion:
    """In one home."""

    home: Home
    config: Config
    store: Store
    databases: Databases
    history: History
    lock: Lock

    def conclude(self, update: Update) -> None:
        """Every line can be repeated; the lock goes last. The app serves already, where it can."""
        schemas = self.databases.schemas() if update.state is State.COMMITTED else {}
        self._enter_in_ledger(update, schemas)
        facts = outcome.facts(update, self.config.gate.hold_s) | (
            {"schemas": schemas} if schemas else {}
        )
        self.history.append_once(update.id, update.state, outcome.told(update), **facts)
        self.databases.give_up(update)
        self.lock.forget()
        copies.clean(self.home)
        self._prune(update)

    def _enter_in_ledger(self, update: Update, schemas: dict[str, str]) -> None:
        ledger, now, to = remembered.ledger(self.home), datetime.now(UTC), update.to or ""
        match update.state:
            case State.COMMITTED:
                ledger.record_commit(to, now, schemas)
                if update.kind == "rollback" and update.from_:
                    ledger.deny(update.from_, update.reason or "It was rolled back by hand.", now)
            case State.ROLLED_BACK if update.from_ not in {None, to}:
                ledger.deny(to, update.reason, now)
            case State.ABANDONED if to and update.overlaps and update.cause == Cause.UNHEALTHY:
                ledger.deny(to, update.reason, now)
            case State.ABANDONED if to and not self.home.postponed.exists():
                with contextlib.suppress(OSError):  # a count only; the disk may be why it failed
                    ledger.count_abandoned(to)

    def _prune(self, update: Update) -> None:
        keep = self.config.keep.releases
        self.databases.sweep()
        try:
            gone = [p.name for p in prune(self.store, remembered.ledger(self.home), keep=keep)]
            gone += self._prune_backups()
        except (SurefootError, OSError) as error:  # the update is over, and has come to its end
            text = f"Old releases and backups were not removed: {error}"
            self.history.append(update.id, "not_pruned", text)
            return
        if gone:
            self.history.append(update.id, "pruned", f"Pruned {', '.join(gone)}.")

    def _prune_backups(self) -> list[str]:
        keep, folder = self.config.keep, self.home.backups
        return retention.prune(
            folder,
            keep.backups,
            retention.newest_of(folder, [release.id for release in self.store.all()]),
            max_age=None if keep.backups_days is None else timedelta(days=keep.backups_days),
            max_bytes=None if keep.backups_size_mb is None else keep.backups_size_mb * 1024 * 1024,
        )
