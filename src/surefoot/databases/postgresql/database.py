"""A PostgreSQL database, as the transaction sees it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.databases import backups
from surefoot.databases.postgresql import (
    catalog,
    cloning,
    comparison,
    contents,
    dumps,
    names,
    properties,
    rights,
)
from surefoot.databases.postgresql.server import Server
from surefoot.databases.postgresql.url import read
from surefoot.databases.processes import tcp_ports
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.databases.backups import Kept
    from surefoot.databases.comparison import Change
    from surefoot.databases.postgresql.server import Connection
    from surefoot.databases.postgresql.url import Address
    from surefoot.databases.snapshot import Snapshot


@dataclass(frozen=True)
class PostgresqlDatabase:
    """On a server, which may be another machine's."""

    name: str
    url: str = field(repr=False)

    @cached_property
    def address(self) -> Address:
        return read(self.url)

    @cached_property
    def server(self) -> Server:
        return Server.at(self.address)

    def exists(self) -> bool:
        with self.server.around() as session:
            return catalog.oid(session, self.address.name) is not None

    def lacks(self) -> list[DatabaseError]:
        return list(rights.lacks(self.server, self.address))

    def intruders(self) -> list[str]:
        """Who is in it just now, and could not be sent away for an update."""
        return rights.intruders(self.server, self.address)

    def in_words(self) -> str:
        """What and how large it is, and who is in it."""
        with self.server.around() as session:
            version = session.info.parameter_status("server_version") or "?"
            size_mb = catalog.size_bytes(session, self.address.name) / 1024**2
            count = len(catalog.sessions(session, self.address.name))
        return (
            f"{self.address.name} on {self.address.server}, PostgreSQL {version}, "
            f"{size_mb:,.0f} MB, {count} session{'s' * (count != 1)}"
        )

    def size_bytes(self) -> int:
        """What a dump of it may need here; its copies need room on the server."""
        with self._inside() as session:
            return contents.data_bytes(session)

    @property
    def place(self) -> str:
        return f"the database {self.address.name}"

    def is_open_in(self, pids: set[int]) -> bool:
        """By the ports of their connections; who comes by the server's local socket has none."""
        ports = tcp_ports(pids)
        if not ports:
            return False
        with self.server.around() as session:
            return not ports.isdisjoint(catalog.client_ports(session, self.address.name))

    def was_reached(self, output: str) -> bool:
        """Whether somebody wanted to go there: whatever the driver, the server names what is not
        there."""
        return self.address.name in output

    def schema(self) -> str:
        with self._inside() as session:
            return contents.schema(session)

    def revisions(self) -> list[str]:
        with self._inside() as session:
            return contents.revisions(session)

    def applied(self) -> list[str]:
        with self._inside() as session:
            return contents.applied(session)

    def back_up(self, folder: Path, *, update: str, release: str) -> Kept:
        def write(file: Path) -> backups.Content:
            with self._inside() as session:
                dumps.dump(self.server, session, self.address.name, file)
                return backups.Content(
                    contents.schema(session), contents.revisions(session), contents.applied(session)
                )

        return backups.make_by(
            write, folder, database=self.name, update=update, release=release, suffix=backups.DUMP
        )

    def put(self, kept: Kept, folder: Path, *, update: str, release: str) -> str | None:  # noqa: ARG002 - kept on the server
        """What stands there stays on the server, under another name, until the next update."""
        backups.verify(kept)
        made = self._beside("new", kept.name)
        with self.server.around() as session:
            for other, role in catalog.ours(session, self.address.name).items():
                if role == "replaced" or other == made:
                    catalog.drop(session, other)
            is_there = catalog.oid(session, self.address.name) is not None
            catalog.create_like(session, self.address.name, made)
            try:
                dumps.restore(self.server, session, kept.file, made)
                if is_there:
                    wanted = properties.read(session, self.address.name)
                    properties.give(session, made, wanted)
            except DatabaseError:
                catalog.drop(session, made)
                raise
            return self._take_place(session, made, kept.name, is_there=is_there)

    def _take_place(
        self, session: Connection, made: str, token: str, *, is_there: bool
    ) -> str | None:
        name, replaced = self.address.name, self._beside("replaced", token)
        catalog.close(session, made)
        if not is_there:
            catalog.rename(session, {made: name}, opened=name)
            return None
        try:
            catalog.close(session, name)
            catalog.rename(session, {name: replaced, made: name}, opened=name)
        except DatabaseError:
            catalog.open(session, name)
            raise
        return f"the database {replaced}"

    def copy(self, kept: Kept | None, folder: Path) -> PostgresqlCopy:
        """On the same server; from the backup, for it cannot be cloned while it is in use."""
        trial = self._beside("trial", folder.name)
        with self.server.around() as session:
            copy = self._filled(session, kept, folder.name)
            catalog.drop(session, trial)
            catalog.close(session, copy)
            catalog.clone(session, copy, trial)
            catalog.open(session, copy)
        return PostgresqlCopy(self.name, self.address.url(trial), copy, self)

    def compare(self, now: Kept, then: Kept) -> list[Change]:
        with self.unpacked(now, "now") as before, self.unpacked(then, "then") as after:
            return comparison.compare(before, after)

    @contextmanager
    def unpacked(self, kept: Kept, token: str) -> Iterator[Connection]:
        """A session in what a backup holds; nothing is left of it."""
        with self.server.around() as session:
            made = self._filled(session, kept, token)
            try:
                with self.server.connected(made) as inside:
                    yield inside
            finally:
                catalog.drop(session, made)

    def _filled(self, session: Connection, kept: Kept | None, token: str) -> str:
        """The name of a new database that holds what the backup does."""
        made = self._beside("copy", token)
        catalog.drop(session, made)
        catalog.create_like(session, self.address.name, made)
        if kept is not None:
            dumps.restore(self.server, session, kept.file, made, owners=False)
        return made

    def outline(self, folder: Path) -> PostgresqlDatabase | None:
        """On the same server; swept up with what the rehearsal leaves."""
        made = self._beside("copy", f"notes{folder.parent.name}")
        with self._inside() as there:
            if (found := contents.notes_of_django(there)) is None:
                return None
        with self.server.around() as session:
            catalog.drop(session, made)
            catalog.create_like(session, self.address.name, made)
        with self.server.connected(made) as inside:
            contents.make_notes(inside, *found)
        return PostgresqlDatabase(self.name, self.address.url(made))

    def nothing(self, folder: Path) -> PostgresqlDatabase:
        return PostgresqlDatabase(
            self.name, self.address.url(self._beside("copy", f"nothing{folder.name}"))
        )

    def take(
        self,
        folder: Path,
        *,
        redirectable: bool,
        replaced: bool,
        switchable: bool,  # noqa: ARG002 - of files
        may_change: bool,
    ) -> Snapshot | None:
        if not may_change:
            return None
        durable.make_folder(folder)
        # A backup is put where the database is, not where a migration is sent.
        aside = redirectable and not replaced
        return cloning.take(self.name, self.address, folder.resolve(), redirectable=aside)

    def settle(self) -> None:
        pass  # what only taking a snapshot changes is known by its record

    def sweep(self, *, replaced: bool) -> None:
        with self.server.around() as session:
            for other, role in catalog.ours(session, self.address.name).items():
                if replaced or role != "replaced":
                    catalog.drop(session, other)

    @contextmanager
    def _inside(self) -> Iterator[Connection]:
        with self.server.connected(self.address.name) as session:
            yield session

    def _beside(self, role: names.Role, token: str) -> str:
        return names.beside(self.address.name, role, token)


@dataclass(frozen=True)
class PostgresqlCopy(PostgresqlDatabase):
    """A database to try things on, and the name of one beside it, untouched, that it was made
    from."""

    origin: str
    real: PostgresqlDatabase

    def changes(self) -> list[Change]:
        with self.server.connected(self.origin) as was, self._inside() as now:
            return comparison.compare(was, now)

    def differences(self, kept: Kept) -> list[str]:
        with self._inside() as now, self.real.unpacked(kept, "then") as then:
            return comparison.differences(now, then)
