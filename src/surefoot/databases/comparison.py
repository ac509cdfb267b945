"""What a migration did to the data: rows of each table before and after, tables and columns gone.

    changes = compare(before, after)     a copy as it was, and the same migrated
    [change for change in changes if change.is_loss]
    listed(changes), in_words(change)    for people

Gone is what is nowhere else: a table or column that was renamed, with all that was in it, is not.
What migration tools note for themselves does not count, nor what SQLite keeps for an index of its
own. Values that a migration overwrites are not seen.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from surefoot.databases import sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOTES_OF_TOOLS = frozenset({"alembic_version", "django_migrations"})
UNCHANGED = 100
"""Tables of which only their rows are told, at most: the history keeps the report."""


@dataclass(frozen=True)
class Change:
    """A table before and after."""

    table: str
    rows_before: int | None
    """None where the table is new, or only the app's own extensions can read it."""
    rows_after: int | None
    columns_gone: tuple[str, ...] = ()
    is_gone: bool = False
    renamed_to: str = ""

    @property
    def is_none(self) -> bool:
        """Whether it has as many rows as before, and all its columns."""
        is_there = not (self.is_gone or self.renamed_to or self.columns_gone)
        return is_there and self.rows_before == self.rows_after

    @property
    def rows_lost(self) -> int:
        return max((self.rows_before or 0) - (self.rows_after or 0), 0)

    @property
    def is_loss_of_rows(self) -> bool:
        """Whether fewer rows are left; that a column goes does not count."""
        return bool(self.rows_before) if self.is_gone else self.rows_lost > 0

    @property
    def is_loss(self) -> bool:
        return self.is_gone or bool(self.columns_gone) or self.rows_lost > 0


@dataclass(frozen=True)
class _Table:
    columns: tuple[str, ...]
    key: tuple[str, ...]
    rows: int | None


def compare(before: Path, after: Path, *, own: bool = False) -> list[Change]:
    """Every table, by name: those that a migration has changed, those that are new, and then the
    first UNCHANGED of those that are as they were. `before` may be absent.

    Nobody writes to either of them; `own`: nor has anybody `after` open.
    Raises DatabaseError where one cannot be read.
    """
    if not before.exists() or not after.exists():
        return []
    with (
        sqlite.explained(after, "cannot be compared"),
        closing(sqlite.connect(after, own=own)) as both,
    ):
        both.execute("ATTACH ? AS before", (f"file:{quote(str(before))}?mode=ro&immutable=1",))
        old, new = _tables(both, "before"), _tables(both, "main")
        changes = [_change(both, name, old, new) for name in sorted(old)]
        renamed = {change.renamed_to for change in changes}
        added = [Change(n, None, new[n].rows) for n in sorted(set(new) - set(old) - renamed)]
    return in_order(changes, added)


def in_order(changes: Sequence[Change], added: Sequence[Change]) -> list[Change]:
    """What has changed comes first; of what has not, no more than UNCHANGED."""
    unchanged = [change for change in changes if change.is_none]
    return [c for c in changes if not c.is_none] + [*added, *unchanged[:UNCHANGED]]


def differences(path: Path, backup: Path) -> list[str]:
    """The tables and columns that only one of two databases has. Raises as `compare`."""
    with sqlite.explained(path, "cannot be compared"), closing(sqlite.connect(path)) as both:
        both.execute("ATTACH ? AS before", (f"file:{quote(str(backup))}?mode=ro&immutable=1",))
        now, then = (
            {
                f"{name}.{column}"
                for name, table in _tables(both, place).items()
                for column in table.columns
            }
            for place in ("main", "before")
        )
    return sorted(now ^ then)


def in_words(change: Change) -> str:
    """What was lost, to go into a sentence."""
    if change.is_gone:
        rows = "" if change.rows_before is None else f" with {change.rows_before} rows"
        return f"the table {change.table}{rows} is gone"
    lost = []
    if change.rows_lost:
        lost.append(f"{change.rows_lost} of {change.rows_before} rows")
    if change.columns_gone:
        lost.append(f"the column{'s' * (len(change.columns_gone) > 1)} {_and(change.columns_gone)}")
    return f"{change.table} loses {' and '.join(lost)}"


def listed(changes: Sequence[Change]) -> str:
    """The changes as a table of plain text."""
    lines = [("table", "rows before", "rows after", "gone")]
    for change in changes:
        gone = "the table" if change.is_gone else ", ".join(change.columns_gone)
        if change.renamed_to:
            gone = f"(renamed: {change.renamed_to})"
        before, after = (
            "-" if rows is None else str(rows) for rows in (change.rows_before, change.rows_after)
        )
        lines.append((change.table, before, after, gone))
    width = max(len(line[0]) for line in lines)
    return "\n".join(
        f"{name:<{width}}  {before:>11}  {after:>10}  {gone}".rstrip()
        for name, before, after, gone in lines
    )


def _change(
    both: sqlite3.Connection, name: str, old: dict[str, _Table], new: dict[str, _Table]
) -> Change:
    was, now = old[name], new.get(name)
    if now is None:
        for other in sorted(set(new) - set(old)):
            if _holds_all(both, name, was, other, new[other]):
                return Change(name, was.rows, new[other].rows, renamed_to=other)
        return Change(name, was.rows, None, is_gone=True)
    missing = [column for column in was.columns if column not in now.columns]
    gone = tuple(column for column in missing if not _lives_on(both, name, column, was, now))
    return Change(name, was.rows, now.rows, gone)


def _holds_all(both: sqlite3.Connection, old: str, was: _Table, new: str, now: _Table) -> bool:
    """Whether every row of a table that is gone is in another one."""
    if set(was.columns) - set(now.columns) or (was.rows or 0) > (now.rows or 0):
        return False
    return not _missing(both, old, was.columns, new, was.columns)


def _lives_on(both: sqlite3.Connection, table: str, column: str, was: _Table, now: _Table) -> bool:
    """Whether another column has the same value in every row."""
    by = was.key or tuple(c for c in was.columns if c in now.columns)
    if set(by) - set(now.columns):
        return False
    return any(
        not _missing(both, table, (*by, column), table, (*by, other))
        for other in now.columns
        if other not in was.columns
    )


def _missing(
    both: sqlite3.Connection, old: str, was: Sequence[str], new: str, now: Sequence[str]
) -> bool:
    """Whether a row that was there is not there now."""
    query = (
        f"SELECT {_quoted(*was)} FROM before.{_quoted(old)} "  # noqa: S608 - names, quoted
        f"EXCEPT SELECT {_quoted(*now)} FROM main.{_quoted(new)} LIMIT 1"
    )
    return both.execute(query).fetchone() is not None


def _tables(connection: sqlite3.Connection, schema: str) -> dict[str, _Table]:
    query = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table'"  # noqa: S608 - ours
    names = {str(name) for (name,) in connection.execute(query)}
    # Since SQLite 3.37; without it, the tables behind a full-text index count like any other.
    listed = connection.execute(f"PRAGMA {schema}.table_list").fetchall()
    names -= {str(row[1]) for row in listed if row[2] == "shadow"} | NOTES_OF_TOOLS
    return {
        name: _table(connection, schema, name) for name in names if not name.startswith("sqlite_")
    }


def _table(connection: sqlite3.Connection, schema: str, name: str) -> _Table:
    columns: list[tuple[Any, ...]] = []
    rows = None
    with suppress(sqlite3.OperationalError):  # only the app's own extensions can read it
        columns = connection.execute(f"PRAGMA {schema}.table_info({_quoted(name)})").fetchall()
        count = f"SELECT count(*) FROM {schema}.{_quoted(name)}"  # noqa: S608 - a name, quoted
        rows = int(connection.execute(count).fetchone()[0])
    key = sorted((column[5], str(column[1])) for column in columns if column[5])
    return _Table(tuple(str(c[1]) for c in columns), tuple(name for _, name in key), rows)


def _quoted(*names: str) -> str:
    return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
