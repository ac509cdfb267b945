"""`releases/ledger.json`: which releases were committed, in order, and which are denied."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from surefoot import durable

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = 1


class Commit(msgspec.Struct, frozen=True):
    """A release that was committed."""

    release: str
    at: datetime
    schemas: dict[str, str] = {}
    """The digest of each database's schema as this release left it at its commit."""


class Denial(msgspec.Struct, frozen=True):
    """Why a release is not tried again by itself."""

    at: datetime
    reason: str


class _Content(msgspec.Struct, frozen=True):
    schema: int = _SCHEMA
    commits: list[Commit] = []
    denied: dict[str, Denial] = {}
    abandoned: dict[str, int] = {}
    """How often in a row a release could not be staged."""


class Ledger:
    """The ledger in a file. Each change is on the disk when the method returns."""

    def __init__(self, file: Path, content: _Content, damaged: Path | None) -> None:
        self._file = file
        self._content = content
        self.damaged = damaged
        """Where a ledger that could not be read was put aside; this one is empty then."""

    @classmethod
    def load(cls, file: Path, *, now: datetime) -> Ledger:
        """The ledger in `file`; an empty one where there is none, or where it is damaged."""
        try:
            content = msgspec.json.decode(file.read_bytes(), type=_Content)
        except FileNotFoundError:
            return cls(file, _Content(), None)
        except msgspec.DecodeError:
            content = _Content(schema=_SCHEMA + 1)
        if content.schema <= _SCHEMA:
            return cls(file, content, None)
        aside = file.with_name(f"{file.name}.damaged-{now:%Y%m%dT%H%M%S%fZ}")
        file.rename(aside)
        durable.sync_folder(file.parent)
        return cls(file, _Content(), aside)

    @property
    def commits(self) -> list[Commit]:
        """The commits, the oldest first."""
        return list(self._content.commits)

    @property
    def denied(self) -> dict[str, Denial]:
        """The denied releases by their id."""
        return dict(self._content.denied)

    @property
    def abandoned(self) -> dict[str, int]:
        """How often each release could not be staged."""
        return dict(self._content.abandoned)

    def schema_at_commit(self, release: str, database: str) -> str | None:
        """The digest of the database's schema when the release was last committed."""
        for commit in reversed(self.commits):
            if commit.release == release:
                return commit.schemas.get(database)
        return None

    def count_abandoned(self, release: str) -> None:
        """The release could not be staged once more."""
        count = self.abandoned.get(release, 0) + 1
        self._write(abandoned=self.abandoned | {release: count})

    def record_commit(
        self, release: str, at: datetime, schemas: dict[str, str] | None = None
    ) -> None:
        """The release is in use for good from now on, and denied no more.

        Recording the last commit once more changes nothing.
        """
        commits = self.commits
        if not commits or commits[-1].release != release:
            commits.append(Commit(release, at, schemas or {}))
        self._write(
            commits=commits,
            denied={k: v for k, v in self.denied.items() if k != release},
            abandoned={},
        )

    def deny(self, release: str, reason: str, at: datetime) -> None:
        """The release is not tried again by itself."""
        self._write(denied=self.denied | {release: Denial(at, reason)})

    def forgive(self, release: str) -> None:
        """The release may be tried again."""
        if release in self.denied:
            self._write(denied={k: v for k, v in self.denied.items() if k != release})

    def previous(self) -> str | None:
        """The release to go back to: the last that was committed before the present one and is
        not denied."""
        for commit in reversed(self.commits):
            if commit.release != self.commits[-1].release and commit.release not in self.denied:
                return commit.release
        return None

    def newest_first(self) -> list[str]:
        """The releases that were ever committed, each once, the last committed first."""
        return list(dict.fromkeys(commit.release for commit in reversed(self.commits)))

    def _write(self, **changes: Any) -> None:
        self._content = msgspec.structs.replace(self._content, **changes)
        durable.make_folder(self._file.parent)
        text = msgspec.json.format(msgspec.json.encode(self._content), indent=1)
        durable.write(self._file, text)
