"""The tiny app's database: put back before each case, and looked into afterwards."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from psycopg import sql

if TYPE_CHECKING:
    from pathlib import Path

    from tests.databases.postgresql_server import PostgresqlServer


@dataclass(frozen=True)
class Found:
    """What is in the database."""

    schema: int
    columns: list[str]
    unfinished: int
    """Rows that a migration to the second schema has left out."""
    is_damaged: bool = False


class Database(Protocol):
    @property
    def url(self) -> str: ...
    @property
    def programs(self) -> list[str]:
        """The folders in which its own are."""

    def prepare(self) -> None:
        """After the first release has made it, while nothing runs."""

    def restore(self) -> None:
        """As it was then; the home has been put back."""

    def rows(self) -> dict[int, str]: ...
    def look(self) -> Found: ...


@dataclass(frozen=True)
class Sqlite:
    file: Path
    size_mb: int
    mode: str

    url = "sqlite:///data/rows.db"
    programs: ClassVar[list[str]] = []

    def prepare(self) -> None:
        with closing(sqlite3.connect(self.file)) as connection:
            connection.execute("CREATE TABLE files (content BLOB)")
            for _ in range(self.size_mb):
                connection.execute("INSERT INTO files VALUES (zeroblob(1024 * 1024))")
            connection.commit()
            connection.execute(f"PRAGMA journal_mode={self.mode}")

    def restore(self) -> None:
        """It lies in the home."""

    def rows(self) -> dict[int, str]:
        return rows_of(self.file)

    def look(self) -> Found:
        with closing(sqlite3.connect(self.file, timeout=10)) as connection:
            schema = connection.execute("PRAGMA user_version").fetchone()[0]
            columns = [row[1] for row in connection.execute("PRAGMA table_info(rows)")]
            unfinished = 0
            if "length" in columns:
                query = "SELECT count(*) FROM rows WHERE length IS NOT length(text)"
                unfinished = connection.execute(query).fetchone()[0]
            whole = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return Found(schema, columns, unfinished, not whole)


def rows_of(file: Path) -> dict[int, str]:
    with closing(sqlite3.connect(file, timeout=10)) as connection:
        return dict(connection.execute("SELECT id, text FROM rows").fetchall())


@dataclass(frozen=True)
class Postgresql:
    """On a server that goes on when all else is ended."""

    server: PostgresqlServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    @property
    def programs(self) -> list[str]:
        return [str(self.server.programs)]

    @property
    def _prepared(self) -> str:
        return f"prepared_{self.name}"

    @classmethod
    def made(cls, server: PostgresqlServer, name: str) -> Postgresql:
        server.make_database(name)
        return cls(server, name)

    def prepare(self) -> None:
        self._clone(self.name, self._prepared)

    def restore(self) -> None:
        with self.server.superuser("postgres") as session:
            for name in self.server.databases():
                if name.startswith(self.name):
                    place = sql.Identifier(name)
                    session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(place))
        self._clone(self._prepared, self.name)

    def _clone(self, template: str, name: str) -> None:
        with self.server.superuser("postgres") as session:
            session.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER notes").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )

    def rows(self) -> dict[int, str]:
        with contextlib.closing(self.server.superuser(self.name)) as session:
            return dict(session.execute("SELECT id, text FROM rows").fetchall())

    def look(self) -> Found:
        with contextlib.closing(self.server.superuser(self.name)) as session:
            (schema,) = session.execute("SELECT max(number) FROM version").fetchone() or (0,)
            columns = session.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = 'rows' "
                "ORDER BY ordinal_position"
            ).fetchall()
            names = [name for (name,) in columns]
            unfinished = 0
            if "length" in names:
                query = "SELECT count(*) FROM rows WHERE length IS DISTINCT FROM length(text)"
                (unfinished,) = session.execute(query).fetchone() or (0,)
        return Found(schema, names, unfinished)
