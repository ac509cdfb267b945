"""What belongs to a database as a whole and does not come with a copy of it: owner, rights,
settings, connection limit, comment, being a template."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from surefoot.databases.postgresql.server import explained
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from surefoot.databases.postgresql.server import Connection

# Settings whose value is a list of names: these the server keeps in quotes of its own.
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]*))\s*(?:,|$)')


@dataclass(frozen=True)
class Properties:
    """As they are compared: in no order, without the grantor."""

    owner: str
    limit: int
    is_template: bool
    comment: str | None
    rights: frozenset[tuple[str, str, bool]] | None
    """(role, or "" for everybody; privilege; may be handed on); None: PostgreSQL's own defaults."""
    settings: frozenset[tuple[str, str]]
    """(role, or "" for everybody; name=value)."""


def read(session: Connection, name: str) -> Properties:
    """Those of a database that is there."""
    row = session.execute(
        """
        SELECT pg_get_userbyid(datdba)::text, datconnlimit, datistemplate,
               shobj_description(oid, 'pg_database'), datacl IS NULL, oid
        FROM pg_database WHERE datname = %s
        """,
        [name],
    ).fetchone()
    if row is None:
        raise DatabaseError(f"There is no database {name}.")
    owner, limit, is_template, comment, by_default, number = row
    rights = session.execute(
        """
        SELECT coalesce(pg_roles.rolname, '')::text, privilege_type, is_grantable
        FROM pg_database, aclexplode(datacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
        WHERE pg_database.oid = %s
        """,
        [number],
    ).fetchall()
    settings = session.execute(
        """
        SELECT coalesce(rolname, '')::text, unnest(setconfig) FROM pg_db_role_setting
        LEFT JOIN pg_roles ON pg_roles.oid = setrole WHERE setdatabase = %s
        """,
        [number],
    ).fetchall()
    return Properties(
        owner,
        limit,
        is_template,
        comment,
        None if by_default else frozenset((r, p, g) for r, p, g in rights),
        frozenset((role, setting) for role, setting in settings),
    )


def give(session: Connection, name: str, wanted: Properties) -> None:
    """Gives them to a database that was just made. Raises DatabaseError where one is refused."""
    place = sql.Identifier(name)
    with session.transaction():
        for statement in _statements(place, read(session, name), wanted):
            session.execute(statement)
    found = read(session, name)
    if found != wanted:
        raise DatabaseError(
            f"The rights and settings of the database cannot be given to its clone: {found} "
            f"instead of {wanted}."
        )


def try_on_itself(session: Connection, name: str) -> None:
    """Raises DatabaseError where a clone could not be given them; nothing is changed."""
    found = read(session, name)
    bare = Properties("", -2, not found.is_template, None, None, frozenset())
    with (
        explained(
            f"The rights and settings of the database {name} cannot be given to a clone",
            "Take the setting back, or set it for the app's role or for the whole server.",
        ),
        session.transaction(force_rollback=True),
    ):
        for statement in _statements(sql.Identifier(name), bare, found):
            session.execute(statement)


def _statements(place: sql.Identifier, there: Properties, wanted: Properties) -> list[sql.Composed]:
    made: list[sql.Composed] = []
    if wanted.comment is not None:
        made.append(sql.SQL("COMMENT ON DATABASE {} IS {}").format(place, wanted.comment))
    if wanted.limit != there.limit:
        made.append(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(place, wanted.limit))
    if wanted.is_template != there.is_template:
        made.append(sql.SQL("ALTER DATABASE {} IS_TEMPLATE {}").format(place, wanted.is_template))
    made += [_setting(place, role, setting) for role, setting in sorted(wanted.settings)]
    if wanted.owner != there.owner:
        made.append(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(place, sql.Identifier(wanted.owner))
        )
    if wanted.rights is not None:
        made += [
            sql.SQL("REVOKE ALL ON DATABASE {} FROM {}").format(place, who)
            for who in (sql.SQL("PUBLIC"), sql.Identifier(wanted.owner))
        ]
        made += [_grant(place, *right) for right in sorted(wanted.rights)]
    return made


def _grant(place: sql.Identifier, role: str, privilege: str, grantable: bool) -> sql.Composed:
    return sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
        sql.SQL(privilege),  # one of the server's own words
        place,
        sql.Identifier(role) if role else sql.SQL("PUBLIC"),
        sql.SQL(" WITH GRANT OPTION" if grantable else ""),
    )


def _setting(place: sql.Identifier, role: str, setting: str) -> sql.Composed:
    key, _, value = setting.partition("=")
    parts = [sql.Literal(value)]
    if key in _LISTS:
        parts = [sql.Literal(item) for item in _items(value)] or [sql.Literal("")]
    whose = sql.SQL("ALTER DATABASE {}").format(place)
    if role:
        whose = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(role), place)
    return sql.SQL("{} SET {} TO {}").format(
        whose, sql.Identifier(*key.split(".")), sql.SQL(", ").join(parts)
    )


def _items(value: str) -> list[str]:
    """The names in a list, out of their quotes."""
    found = []
    for quoted, plain in _ITEM.findall(value):
        if quoted or plain.strip():
            found.append(quoted.replace('""', '"') if quoted else plain.strip())
    return found
