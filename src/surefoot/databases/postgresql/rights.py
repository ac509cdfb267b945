"""What an update needs of the server and may not have: looked at before anybody is interrupted.

No superuser is needed: the app's role owns the database, may make others, and is let into the
database `postgres`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surefoot.databases.postgresql import catalog, cloning, dumps, properties
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.databases.postgresql.server import Connection, Server
    from surefoot.databases.postgresql.url import Address

# Who may end a session: see pg_terminate_backend.
_NOT_TO_BE_ENDED = """
    SELECT DISTINCT usename || coalesce(' (' || nullif(application_name, '') || ')', '')
    FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid
    WHERE datname = %s AND pid <> pg_backend_pid() AND NOT pg_has_role(usesysid, 'MEMBER')
      AND (rolsuper OR NOT pg_has_role('pg_signal_backend', 'USAGE'))
    ORDER BY 1
"""
_UNREADABLE = """
    SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S', 'm') AND NOT has_table_privilege(c.oid, 'SELECT')
      AND left(n.nspname, 3) <> 'pg_' AND n.nspname <> 'information_schema' LIMIT 3
"""
# What is bound to this one database and no copy of it takes along.
_BOUND = {
    "the logical replication slot": "SELECT slot_name FROM pg_replication_slots WHERE datoid = %s",
    "the subscription": "SELECT subname FROM pg_subscription WHERE subdbid = %s",
    "the security label of": "SELECT provider FROM pg_shseclabel WHERE objoid = %s"
    " AND classoid = 'pg_database'::regclass",
}


def lacks(server: Server, address: Address) -> Iterator[DatabaseError]:
    """Everything that an update would fail for; nothing is changed."""
    with server.around() as session:
        oid = catalog.oid(session, address.name)
        if oid is None:
            yield cloning.missing(address)
            return
        yield from _of_role(session, address.name)
        for what, query in _BOUND.items():
            for (bound,) in session.execute(query, [oid]).fetchall():
                yield DatabaseError(
                    f"{what.capitalize()} {bound} belongs to the database {address.name}, and "
                    "would not come with a clone of it.",
                    next_step='Drop it for the update, or migrate by hand (`migrate = "none"`).',
                )
        try:
            dumps.programs(session.info.server_version)
        except DatabaseError as error:
            yield error
    with server.connected(address.name) as inside:
        if unreadable := [str(row[0]) for row in inside.execute(_UNREADABLE).fetchall()]:
            yield DatabaseError(
                f"The role {inside.info.user} may not read {', '.join(unreadable)}, so the "
                f"database {address.name} cannot be backed up.",
                next_step=f"Let it: GRANT pg_read_all_data TO {inside.info.user}.",
            )


def intruders(server: Server, address: Address) -> list[str]:
    """Who is in the database just now, and could not be sent away for an update."""
    with server.around() as session:
        return [str(row[0]) for row in session.execute(_NOT_TO_BE_ENDED, [address.name])]


def _of_role(session: Connection, name: str) -> Iterator[DatabaseError]:
    user = session.info.user
    row = session.execute(
        """
        SELECT rolsuper OR rolcreatedb, pg_has_role(datdba, 'MEMBER'), pg_get_userbyid(datdba)
        FROM pg_roles, pg_database WHERE rolname = current_user AND datname = %s
        """,
        [name],
    ).fetchone()
    may_create, owns, owner = row or (False, False, "?")
    if not may_create:
        yield DatabaseError(
            f"The role {user} may not make databases, and an update migrates a clone.",
            next_step=f"As a superuser: ALTER ROLE {user} CREATEDB.",
        )
    if not owns:
        yield DatabaseError(
            f"The role {user} does not own the database {name}: {owner} does.",
            next_step=f"As a superuser: ALTER DATABASE {name} OWNER TO {user}.",
        )
        return
    try:
        properties.try_on_itself(session, name)
    except DatabaseError as error:
        yield error
