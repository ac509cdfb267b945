"""Databases as wholes: looked up, closed, copied, renamed, dropped; from a session in another one.

A closed database takes no new session, not even a superuser's, and may be copied and renamed all
the same. What is changed by more than one statement is changed in one transaction.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING

from psycopg import errors, sql

from surefoot.databases.postgresql import names
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from surefoot.databases.postgresql.names import Role
    from surefoot.databases.postgresql.server import Connection

PATIENCE_S = 10.0
"""How long is waited for the sessions of others."""
FILES_PAY_FROM_BYTES = 128 * 1024 * 1024
"""A smaller database is copied faster through the log, which spares two checkpoints."""

# Workers that vacuum are nobody's; the server itself ends them for whoever needs the database.
_SESSIONS = """
    SELECT pid, usename, application_name FROM pg_stat_activity
    WHERE datid = %s AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
"""


def oid(session: Connection, name: str) -> int | None:
    """The database's identity, which no renaming changes; None where there is none."""
    found = session.execute("SELECT oid FROM pg_database WHERE datname = %s", [name]).fetchone()
    return int(found[0]) if found else None


def name_of(session: Connection, oid: int) -> str | None:
    """What the database is called now."""
    found = session.execute("SELECT datname FROM pg_database WHERE oid = %s", [oid]).fetchone()
    return str(found[0]) if found else None


def size_bytes(session: Connection, name: str) -> int:
    """What it takes on the server's disk."""
    found = session.execute("SELECT pg_database_size(%s::name)", [name]).fetchone()
    return int(found[0]) if found else 0


def ours(session: Connection, name: str) -> dict[str, Role]:
    """The databases that were made beside this one, with what they are."""
    rows = session.execute("SELECT datname FROM pg_database ORDER BY datname").fetchall()
    return {other: role for (other,) in rows if (role := names.role(name, other))}


def is_open(session: Connection, name: str) -> bool:
    """Whether it takes new sessions."""
    query = "SELECT datallowconn FROM pg_database WHERE datname = %s"
    return session.execute(query, [name]).fetchone() == (True,)


def open(session: Connection, name: str) -> None:  # noqa: A001 - read as catalog.open
    """Lets new sessions in, if it does not."""
    if not is_open(session, name):
        _allow(session, name, allowed=True)


def close(session: Connection, name: str) -> None:
    """Lets no new session in, and ends those that there are.

    Raises DatabaseError, naming them, where some go on: those of a role that we may not end, and
    prepared transactions.
    """
    if is_open(session, name):
        _allow(session, name, allowed=False)
    _end_sessions(session, name)
    query = "SELECT gid FROM pg_prepared_xacts WHERE database = %s"
    if prepared := [str(gid) for (gid,) in session.execute(query, [name])]:
        raise DatabaseError(
            f"The database {name} is held by the prepared transaction {', '.join(prepared)}; it "
            "was left as it is.",
            next_step="COMMIT PREPARED or ROLLBACK PREPARED it.",
        )


def sessions(session: Connection, name: str) -> list[tuple[int, str, str]]:
    """Who is in it besides us: process, role, application."""
    return session.execute(_SESSIONS, [oid(session, name)]).fetchall()


def client_ports(session: Connection, name: str) -> set[int]:
    """From which ports somebody is in it, as far as we may know."""
    query = "SELECT client_port FROM pg_stat_activity WHERE datname = %s AND client_port > 0"
    return {int(port) for (port,) in session.execute(query, [name])}


def _end_sessions(session: Connection, name: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while found := sessions(session, name):
        for pid, _, _ in found:
            try:
                session.execute("SELECT pg_terminate_backend(%s)", [pid])
            except errors.InsufficientPrivilege:
                continue  # it may end by itself
        if monotonic() > deadline:
            people = ", ".join(f"{user} ({app or pid})" for pid, user, app in found)
            raise DatabaseError(
                f"The database {name} is in use by {people}; it was left as it is.",
                next_step="End these sessions, or let the app's role end them: "
                "GRANT pg_signal_backend TO it.",
            )
        sleep(0.02)


def clone(session: Connection, source: str, target: str) -> None:
    """Makes a database like another one, which is closed; owner, rights and settings are not
    copied. Durable when it returns; a crash leaves all of it or none."""
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(target), sql.Identifier(source)
    )
    if session.info.server_version >= 150000:
        by_files = size_bytes(session, source) >= FILES_PAY_FROM_BYTES
        statement += sql.SQL(" STRATEGY file_copy" if by_files else " STRATEGY wal_log")
    session.execute(statement)


def create_like(session: Connection, like: str, target: str) -> None:
    """Makes an empty database of the encoding, locale and tablespace of another one."""
    icu = "daticulocale" if session.info.server_version >= 150000 else "NULL"
    icu = "datlocale" if session.info.server_version >= 170000 else icu
    provider = "datlocprovider" if session.info.server_version >= 150000 else "'c'"
    row = session.execute(
        sql.SQL(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, {provider}::text,"
            " {icu}, spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace"
            " WHERE datname = %s"
        ).format(provider=sql.SQL(provider), icu=sql.SQL(icu)),
        [like],
    ).fetchone()
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(target))
    if row is not None:
        encoding, collate, ctype, provided_by, locale, tablespace = row
        statement += sql.SQL(" ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Literal(encoding), sql.Literal(collate), sql.Literal(ctype)
        )
        if tablespace != "pg_default":  # which is everybody's, without being named
            statement += sql.SQL(" TABLESPACE {}").format(sql.Identifier(tablespace))
        if provided_by == "i":
            statement += sql.SQL(" LOCALE_PROVIDER icu ICU_LOCALE {}").format(sql.Literal(locale))
        elif provided_by == "b":
            statement += sql.SQL(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}").format(
                sql.Literal(locale)
            )
    session.execute(statement)


def rename(session: Connection, renamed: Mapping[str, str], *, opened: str = "") -> None:
    """Gives databases other names, one after another in one transaction; nobody is in them.

    `opened`, a name as it is after that, is let to be used in the same instant.
    """
    with session.transaction():
        for old, new in renamed.items():
            session.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(old), sql.Identifier(new)
                )
            )
        if opened:
            _allow(session, opened, allowed=True)


def drop(session: Connection, name: str) -> None:
    """Drops one of the databases beside the app's, if it is there, with whoever is in it."""
    if oid(session, name) is not None:
        # What half a drop has left cannot be altered, only dropped.
        with suppress(errors.ObjectNotInPrerequisiteState):
            close(session, name)
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def _allow(session: Connection, name: str, *, allowed: bool) -> None:
    session.execute(
        sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
            sql.Identifier(name), sql.SQL("true" if allowed else "false")
        )
    )
