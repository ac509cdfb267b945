"""The updates that are struck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crash.sample import FIRST

if TYPE_CHECKING:
    from surefoot.update.lock import Kind

LARGE_MB = 36


@dataclass(frozen=True)
class Scenario:
    """One update."""

    name: str
    aim: str
    """The release that is asked for."""
    migrates: bool = True
    outcome: str = "committed"
    """How it ends undisturbed."""
    rehearses: bool = False
    size_mb: int = 0
    """Of the database; a large one is pinned, a small one copied."""
    mode: str = "wal"
    """The journal mode of the database; `postgresql` where it is on a server."""
    kind: Kind = "update"
    before: str = ""
    """The release that is in use before, if not the first: it came undisturbed."""
    whole: bool = False
    """Whether it is struck from its beginning. Until a release is staged every update is alike, and
    so the others are struck from there on."""

    @property
    def is_pinned(self) -> bool:
        return self.size_mb > 0

    @property
    def old(self) -> str:
        return self.before or FIRST.tag


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("update: code alone", "code", migrates=False, whole=True),
        Scenario("update: code, environment, migration", "whole", whole=True),
        Scenario("rollback: the migration fails", "fails", outcome="rolled_back", whole=True),
        Scenario("rollback: the release does not start", "ill", outcome="rolled_back"),
        Scenario("update: rehearsed first", "whole", rehearses=True),
        Scenario("update: a pinned database", "whole", size_mb=LARGE_MB),
        Scenario("rollback: a pinned database", "ill", outcome="rolled_back", size_mb=LARGE_MB),
        Scenario("update: pinned, rehearsed first", "whole", rehearses=True, size_mb=LARGE_MB),
        Scenario("update: pinned, other mode", "whole", size_mb=LARGE_MB, mode="delete"),
        Scenario(
            "rollback: pinned, other mode",
            "ill",
            outcome="rolled_back",
            size_mb=LARGE_MB,
            mode="delete",
        ),
        Scenario("update: PostgreSQL", "whole", mode="postgresql"),
        Scenario(
            "rollback: PostgreSQL, the migration fails",
            "fails",
            outcome="rolled_back",
            mode="postgresql",
        ),
        Scenario(
            "rollback: PostgreSQL, does not start", "ill", outcome="rolled_back", mode="postgresql"
        ),
        Scenario("restore: a backup", "code", kind="restore", before="code", whole=True),
        Scenario("restore: after the commit", "first", kind="rollback", before="whole", whole=True),
    )
}
