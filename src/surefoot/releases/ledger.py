"""`releases/ledger.json`: which releases were committed, in order, and which are denied."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from surefoot import durable, stored
from surefoot.errors import DamagedError
from surefoot.stored import Moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

_SCHEMA = 1


class Commit(msgspec.Struct, frozen=True):
    """A release that was committed."""

    release: str
    at: Moment
    schemas: dict[str, str] = {}
    """The digest of each database's schema as this release left it at its commit."""


class Denial(msgspec.Struct, frozen=True):
    """Why a release is not tried again by itself."""

    at: Moment
    reason: str


class Content(msgspec.Struct, frozen=True):
    """What the ledger says. Every verb returns another one."""

    schema: int = _SCHEMA
    commits: list[Commit] = []
    denied: dict[str, Denial] = {}
    abandoned: dict[str, int] = {}
    """How often in a row a release could not be staged."""

    def committed(
        self, release: str, at: datetime, schemas: dict[str, str] | None = None
    ) -> Content:
        """The release is in use for good. The last commit once more is no other commit."""
        commits = self.commits
        if not commits or commits[-1].release != release:
            commits = [*commits, Commit(release, at, schemas or {})]
        return msgspec.structs.replace(
            self, commits=commits, denied=_without(self.denied, release), abandoned={}
        )

    def with_denial(self, release: str, reason: str, at: datetime) -> Content:
        """The release is not tried again by itself."""
        return msgspec.structs.replace(self, denied=self.denied | {release: Denial(at, reason)})

    def forgiven(self, release: str) -> Content:
        """The release may be tried again."""
        return msgspec.structs.replace(self, denied=_without(self.denied, release))

    def with_abandoned(self, release: str) -> Content:
        """The release could not be staged once more."""
        count = self.abandoned.get(release, 0) + 1
        return msgspec.structs.replace(self, abandoned=self.abandoned | {release: count})


def _without(denied: dict[str, Denial], release: str) -> dict[str, Denial]:
    return {k: v for k, v in denied.items() if k != release}


class Ledger:
    """The ledger in a file. Each change is on the disk when the method returns."""

    def __init__(self, file: Path, content: Content, damaged: Path | None = None) -> None:
        self._file = file
        self._content = content
        self.damaged = damaged
        """Where a ledger that could not be read was put aside."""

    @classmethod
    def read(cls, file: Path) -> Ledger:
        """The ledger in `file`, for whoever only looks.

        Raises FileNotFoundError where there is none, DamagedError where it cannot be read.
        """
        content = stored.load(file, Content)
        if content.schema > _SCHEMA:
            raise stored.damaged(str(file), f"it has schema {content.schema}")
        return cls(file, content)

    @classmethod
    def load(cls, file: Path, *, now: datetime, lost: Callable[[], Content] = Content) -> Ledger:
        """The ledger in `file`, for whoever changes it.

        Where there is none, or it is damaged and so is put aside, `lost` says what it begins with.
        """
        try:
            return cls.read(file)
        except FileNotFoundError:
            if not os.path.lexists(file):
                return cls(file, lost())
        except DamagedError:
            pass
        aside = file.with_name(f"{file.name}.damaged-{now:%Y%m%dT%H%M%S%fZ}")
        file.rename(aside)
        ledger = cls(file, lost(), aside)
        ledger._write(ledger._content)
        return ledger

    @property
    def content(self) -> Content:
        return self._content

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
        self._write(self._content.with_abandoned(release))

    def record_commit(
        self, release: str, at: datetime, schemas: dict[str, str] | None = None
    ) -> None:
        """The release is in use for good from now on, and denied no more.

        Recording the last commit once more changes nothing.
        """
        self._write(self._content.committed(release, at, schemas))

    def deny(self, release: str, reason: str, at: datetime) -> None:
        """The release is not tried again by itself."""
        self._write(self._content.with_denial(release, reason, at))

    def forgive(self, release: str) -> None:
        """The release may be tried again."""
        if release in self.denied:
            self._write(self._content.forgiven(release))

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

    def _write(self, content: Content) -> None:
        self._content = content
        durable.make_folder(self._file.parent)
        text = msgspec.json.format(msgspec.json.encode(self._content), indent=1)
        durable.write(self._file, text)
