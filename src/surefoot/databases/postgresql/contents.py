"""What is in a database, asked from a session in it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from psycopg import sql

from surefoot.databases import django

if TYPE_CHECKING:
    from surefoot.databases.postgresql.server import Connection

# Of the app's own making; stands for OURS.
_OURS = "left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema'"

# Definitions as the server words them: with `search_path = pg_catalog` every name is whole.
_SCHEMA = (
    # schemas, extensions
    "SELECT nspname FROM pg_namespace n WHERE OURS",
    "SELECT extname, extversion FROM pg_extension",
    # tables, views, sequences and so on, with their columns
    """SELECT n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity,
               c.relforcerowsecurity, pg_get_partkeydef(c.oid),
               pg_get_expr(c.relpartbound, c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE OURS AND c.relkind NOT IN ('i', 'I', 't')""",
    """SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
               a.attnotnull, a.attidentity, a.attgenerated, o.collname,
               pg_get_expr(d.adbin, d.adrelid)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        LEFT JOIN pg_collation o ON o.oid = a.attcollation
        WHERE OURS AND a.attnum > 0 AND NOT a.attisdropped
          AND c.relkind NOT IN ('i', 'I', 't')""",
    """SELECT n.nspname, c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE OURS""",
    """SELECT n.nspname, x.conname, x.conrelid::regclass::text, x.convalidated,
               pg_get_constraintdef(x.oid)
        FROM pg_constraint x JOIN pg_namespace n ON n.oid = x.connamespace WHERE OURS""",
    """SELECT n.nspname, c.relname, pg_get_viewdef(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE OURS AND c.relkind IN ('v', 'm')""",
    """SELECT n.nspname, c.relname, s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcycle,
               s.seqtypid::regtype::text
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE OURS""",
    # code
    """SELECT n.nspname, pg_get_functiondef(p.oid)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE OURS AND p.prokind IN ('f', 'p')""",
    """SELECT n.nspname, p.proname, p.prokind, pg_get_function_identity_arguments(p.oid)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE OURS AND p.prokind NOT IN ('f', 'p')""",
    """SELECT pg_get_triggerdef(t.oid), t.tgenabled
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE OURS AND NOT t.tgisinternal""",
    """SELECT r.rulename, pg_get_ruledef(r.oid)
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE OURS AND r.rulename <> '_RETURN'""",
    """SELECT n.nspname, c.relname, p.polname, p.polcmd, p.polpermissive,
               pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE OURS""",
    # types
    """SELECT n.nspname, t.typname, t.typtype, format_type(t.typbasetype, t.typtypmod),
               t.typdefault, t.typnotnull
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE OURS""",
    """SELECT n.nspname, t.typname, e.enumlabel,
               row_number() OVER (PARTITION BY t.oid ORDER BY e.enumsortorder)
        FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
        JOIN pg_namespace n ON n.oid = t.typnamespace WHERE OURS""",
)

_NOTES = {"alembic_version": ("version_num",), "django_migrations": ("app", "name")}


def schema(session: Connection) -> str:
    """A digest of the schema and of what the migration tools note about it."""
    digest = hashlib.sha256()
    for number, query in enumerate(_SCHEMA):
        _add(digest, str(number), _ours(session, query))
    for table, columns in _NOTES.items():
        for place in _tables_called(session, table):
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            notes = sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(*place))
            _add(digest, ".".join(place), session.execute(notes).fetchall())
    return digest.hexdigest()


def revisions(session: Connection) -> list[str]:
    """The revisions of Alembic that it is at, sorted."""
    found: list[str] = []
    for place in _tables_called(session, "alembic_version"):
        query = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(*place))
        found += [str(row[0]) for row in session.execute(query)]
    return sorted(found)


def applied(session: Connection) -> list[str]:
    """Of Django's migrations the last of each app, as `app.name`."""
    found: list[tuple[Any, ...]] = []
    for place in _tables_called(session, django.NOTES):
        query = sql.SQL("SELECT app, name FROM {} ORDER BY id").format(sql.Identifier(*place))
        found += session.execute(query).fetchall()
    return django.last_of_each_app(found)


def notes_of_django(session: Connection) -> tuple[str, list[tuple[Any, ...]]] | None:
    """The schema in which Django notes what was applied, and the notes; None where that is not one
    place."""
    places = _tables_called(session, django.NOTES)
    if len(places) != 1:
        return None
    query = sql.SQL("SELECT id, app, name, applied FROM {}").format(sql.Identifier(*places[0]))
    return places[0][0], session.execute(query).fetchall()


def make_notes(session: Connection, schema: str, notes: list[tuple[Any, ...]]) -> None:
    """The same in an empty database."""
    place = sql.Identifier(schema, django.NOTES)
    session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    session.execute(
        sql.SQL(
            "CREATE TABLE {} (id bigint PRIMARY KEY, app varchar(255), name varchar(255),"
            " applied timestamptz)"
        ).format(place)
    )
    with session.cursor() as cursor:
        cursor.executemany(sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s)").format(place), notes)


def data_bytes(session: Connection) -> int:
    """About what a dump of it holds at most: no indexes."""
    query = """SELECT coalesce(sum(pg_table_size(c.oid)), 0) FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE OURS AND c.relkind IN ('r', 'm')"""
    large = session.execute("SELECT pg_table_size('pg_largeobject')").fetchall()
    return sum(int(size) for (size,) in (*_ours(session, query), *large))


def _tables_called(session: Connection, name: str) -> list[tuple[str, str]]:
    query = """SELECT n.nspname, c.relname FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE OURS AND c.relname = %s AND c.relkind IN ('r', 'p') ORDER BY 1"""
    return [(str(schema), str(table)) for schema, table in _ours(session, query, name)]


def _ours(session: Connection, query: str, *values: str) -> list[tuple[Any, ...]]:
    return session.execute(query.replace("OURS", _OURS).encode(), values or None).fetchall()


def _add(digest: hashlib._Hash, title: str, rows: list[tuple[Any, ...]]) -> None:
    digest.update("\n".join([title, *sorted(map(repr, rows)), ""]).encode())
