"""Connections to one server, and its errors in our words."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from surefoot.databases.postgresql.url import Address

Connection = psycopg.Connection[tuple[Any, ...]]

APPLICATION = "surefoot"
CONNECT_TIMEOUT_S = 15
# Nobody's data: what is asked from there concerns other databases.
_AROUND = ("postgres", "template1")
# Whatever the role or the database has set for the app; SET of any user.
_SESSION = (
    "SET statement_timeout = 0",
    "SET lock_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET default_transaction_read_only = off",
    "SET search_path = pg_catalog",
)
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "user": "PGUSER",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "gssencmode": "PGGSSENCMODE",
    "channel_binding": "PGCHANNELBINDING",
    "requirepeer": "PGREQUIREPEER",
    "service": "PGSERVICE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


@dataclass(frozen=True)
class Server:
    """Where it is, and as whom."""

    parameters: Mapping[str, str]
    password: str | None = field(default=None, repr=False)

    @classmethod
    def at(cls, address: Address) -> Server:
        return cls(address.parameters, address.password)

    @contextmanager
    def connected(self, name: str) -> Iterator[Connection]:
        """A session in one database. Raises DatabaseError for whatever goes wrong in it."""
        try:
            connection = self._connect(name)
        except psycopg.Error as error:
            raise DatabaseError(
                f"The PostgreSQL database {name} cannot be reached: {said(error)}.",
                next_step="`surefoot doctor` says what is needed.",
            ) from error
        with connection, explained():
            yield connection

    @contextmanager
    def around(self) -> Iterator[Connection]:
        """A session in none of the app's databases, for what is done to these as a whole."""
        failed: list[str] = []
        for name in _AROUND:
            try:
                connection = self._connect(name)
            except psycopg.Error as error:
                failed.append(f"{name}: {said(error)}")
                continue
            with connection, explained():
                yield connection
            return
        raise DatabaseError(
            f"The PostgreSQL server cannot be reached: {'; '.join(failed)}.",
            next_step="The app's role must be let into the database postgres: what is done to a "
            "database as a whole is done from another one. `surefoot doctor` looks at it.",
        )

    def environment(self, name: str) -> dict[str, str]:
        """By which PostgreSQL's own programs find a database; their arguments are seen by all."""
        own = {_VARIABLES[k]: v for k, v in self.parameters.items() if k in _VARIABLES}
        if self.password is not None:
            own["PGPASSWORD"] = self.password
        own |= {"PGDATABASE": name, "PGAPPNAME": APPLICATION, "LC_ALL": "C.UTF-8"}
        return os.environ | own

    def _connect(self, name: str) -> Connection:
        options: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, **self.parameters}
        options |= {"dbname": name, "application_name": APPLICATION}
        if self.password is not None:
            options["password"] = self.password
        connection = psycopg.connect(**options, autocommit=True)
        try:
            for statement in _SESSION:
                connection.execute(statement)
            # A swap that was reported must not be gone after a crash of the server.
            if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
                connection.execute("SET synchronous_commit = on")
        except BaseException:
            connection.close()
            raise
        return connection


def said(error: psycopg.Error) -> str:
    """What the server has to say, in one line."""
    words = error.diag.message_primary or str(error)
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    return " ".join(f"{words}{detail}".split()).rstrip(".") or type(error).__name__


@contextmanager
def explained(what: str = "PostgreSQL has refused", next_step: str = "") -> Iterator[None]:
    """Turns psycopg's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise DatabaseError(f"{what}: {said(error)}.", next_step=next_step) from error
