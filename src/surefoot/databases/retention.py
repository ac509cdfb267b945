"""How long backups are kept.

prune(folder, keep, protected)     the rule stands there
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.databases import backups, sqlite
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta
    from pathlib import Path

    from surefoot.databases.backups import Kept


def prune(
    folder: Path,
    keep: int,
    protected: set[str],
    *,
    max_age: timedelta | None = None,
    max_bytes: int | None = None,
) -> list[str]:
    """Removes old backups and returns their names.

    Of each database and kind the newest `keep` stay, if they are not older than `max_age`. The
    oldest of all go until the rest has no more than `max_bytes`. The newest of each database and
    kind stays all the same; what is `protected` does; and damaged ones do, for a person to look at;
    they do not count. None is removed before one of the same database that stays was read and
    found whole, so the last good one is never removed.
    """
    groups: dict[tuple[str, str], list[Kept]] = {}
    for kept in backups.all(folder):
        if kept.is_good and kept.facts is not None:
            groups.setdefault((kept.facts.database, kept.facts.kind), []).append(kept)
    surplus = _surplus([*groups.values()], max(keep, 1), protected, max_age, max_bytes)
    removed = []
    for group in groups.values():
        going = [kept for kept in group if kept.name in surplus]
        if going and any(_is_whole(kept) for kept in group if kept.name not in surplus):
            for kept in going:
                _remove(kept)
                removed.append(kept.name)
    return removed


def _surplus(
    groups: list[list[Kept]],
    keep: int,
    protected: set[str],
    max_age: timedelta | None,
    max_bytes: int | None,
) -> set[str]:
    """The names of those that are to go; each group has the newest first."""
    oldest = datetime.now(UTC) - max_age if max_age is not None else None
    surplus, left = set(), []
    for group in groups:
        for number, kept in enumerate(group):
            made_at = kept.facts.made_at if kept.facts else None
            is_old = oldest is not None and made_at is not None and made_at < oldest
            if (number >= keep or (is_old and number)) and kept.name not in protected:
                surplus.add(kept.name)
            else:
                left.append((made_at, kept, number == 0 or kept.name in protected))
    if max_bytes is not None:
        size_bytes = sum(kept.file.stat().st_size for _, kept, _ in left)
        for _, kept, stays in sorted(left, key=lambda each: each[1].age):
            if size_bytes > max_bytes and not stays:
                surplus.add(kept.name)
                size_bytes -= kept.file.stat().st_size
    return surplus


def newest_of(folder: Path, releases: Iterable[str]) -> set[str]:
    """The names of the newest sound backup of each database and release: what is needed to go back
    to one of these."""
    wanted, found = set(releases), {}
    for kept in reversed(backups.all(folder)):
        facts = kept.facts
        if kept.is_good and facts and facts.kind == "before_update" and facts.release in wanted:
            found[facts.database, facts.release] = kept.name
    return set(found.values())


def _remove(kept: Kept) -> None:
    """The description goes last: what is half removed is listed as damaged."""
    for file in (kept.file, *sqlite.companions(kept.file), backups.description(kept.file)):
        file.unlink(missing_ok=True)
    durable.sync_folder(kept.file.parent)


def _is_whole(kept: Kept) -> bool:
    with suppress(DatabaseError):
        backups.verify(kept)
        return True
    return False
