"""What a migration has done to the data: one database as it was, and a clone of it migrated.

The same questions as `surefoot.databases.comparison` asks of files. Two databases cannot be read by
one query, so what is not there any more is looked for by digests of its values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from surefoot.databases.comparison import NOTES_OF_TOOLS, Change, in_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from surefoot.databases.postgresql.server import Connection

Place = tuple[str, str]
"""Schema and table."""


@dataclass(frozen=True)
class _Table:
    columns: tuple[str, ...]
    key: tuple[str, ...]
    rows: int


def compare(before: Connection, after: Connection) -> list[Change]:
    """Every table, in the order of the files' `compare`. Nobody writes to either of them."""
    old, new = _tables(before), _tables(after)
    changes = [_change(before, after, place, old, new) for place in sorted(old)]
    renamed = {change.renamed_to for change in changes}
    added = [
        Change(_shown(place), None, new[place].rows)
        for place in sorted(set(new) - set(old))
        if _shown(place) not in renamed
    ]
    return in_order(changes, added)


def differences(one: Connection, other: Connection) -> list[str]:
    """The tables and columns that only one of two databases has."""
    return sorted(_columns(one) ^ _columns(other))


def _columns(session: Connection) -> set[str]:
    return {
        f"{_shown(place)}.{column}"
        for place, table in _tables(session).items()
        for column in table.columns
    }


def _change(
    before: Connection,
    after: Connection,
    place: Place,
    old: dict[Place, _Table],
    new: dict[Place, _Table],
) -> Change:
    was, now = old[place], new.get(place)
    if now is None:
        for other in sorted(set(new) - set(old)):
            if _is_same(before, place, was, after, other, new[other]):
                return Change(_shown(place), was.rows, new[other].rows, renamed_to=_shown(other))
        return Change(_shown(place), was.rows, None, is_gone=True)
    missing = [column for column in was.columns if column not in now.columns]
    gone = tuple(c for c in missing if not _lives_on(before, after, place, c, was, now))
    return Change(_shown(place), was.rows, now.rows, gone)


def _is_same(
    before: Connection, old: Place, was: _Table, after: Connection, new: Place, now: _Table
) -> bool:
    """Whether a table that is gone is there under another name."""
    if set(was.columns) - set(now.columns) or was.rows != now.rows:
        return False
    return _digest(before, old, was.columns) == _digest(after, new, was.columns)


def _lives_on(
    before: Connection, after: Connection, place: Place, column: str, was: _Table, now: _Table
) -> bool:
    """Whether another column has the same value in every row."""
    by = was.key or tuple(c for c in was.columns if c in now.columns)
    if set(by) - set(now.columns):
        return False
    wanted = _digest(before, place, (*by, column))
    return any(
        _digest(after, place, (*by, other)) == wanted
        for other in now.columns
        if other not in was.columns
    )


def _digest(session: Connection, place: Place, columns: Sequence[str]) -> object:
    """Of all the rows, whatever their order."""
    values = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = "SELECT count(*), sum(hashtextextended((ROW({}))::text, 0)::numeric) FROM {}"
    return session.execute(sql.SQL(query).format(values, sql.Identifier(*place))).fetchone()


def _tables(session: Connection) -> dict[Place, _Table]:
    """Partitions count with what they are a part of."""
    rows = session.execute(
        """
        SELECT n.nspname, c.relname,
               (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
               (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index i
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                WHERE i.indrelid = c.oid AND i.indisprimary)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'
        """
    ).fetchall()
    return {
        (schema, table): _Table(
            tuple(columns or ()), tuple(key or ()), _rows(session, (schema, table))
        )
        for schema, table, columns, key in rows
        if table not in NOTES_OF_TOOLS
    }


def _rows(session: Connection, place: Place) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*place))
    found = session.execute(query).fetchone()
    return int(found[0]) if found else 0


def _shown(place: Place) -> str:
    return place[1] if place[0] == "public" else ".".join(place)
