"""The snapshot by a clone: the migration works on it, and it is swapped in by name.

    take      close the database, end its sessions, clone it as `new`
    prepare   `new` is made once more, where a migration may have touched it
    adopt     database -> `old`, `new` -> database, in one transaction
    restore   database -> `replaced`, `old` -> database, in one transaction

So the database itself is never written to, and where it is now is what the server says of its oid,
which no renaming changes. A migration that cannot be told where to work finds the clone under the
database's own name: `prepare` does what `adopt` does otherwise.

From `take` to the swap the database is closed; the record is written down before, in the snapshot's
folder, so that it is opened again whatever happens. The URL lies beside it, for it may
hold a password; records hold none.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from surefoot import durable, stored
from surefoot.databases.postgresql import catalog, contents, names, properties
from surefoot.databases.postgresql.server import Server
from surefoot.databases.postgresql.url import read
from surefoot.databases.processes import end_marked
from surefoot.databases.records import Cloned
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.databases.postgresql.server import Connection
    from surefoot.databases.postgresql.url import Address


def take(name: str, address: Address, folder: Path, *, redirectable: bool) -> Cloned:
    """Closes the database and clones it. When that fails it is open again."""
    end_marked(str(folder))
    server = Server.at(address)
    with server.around() as session:
        oid = catalog.oid(session, address.name)
        if oid is None:
            raise missing(address)
        catalog.open(session, address.name)
        with server.connected(address.name) as inside:
            digest = contents.schema(inside)
        record = Cloned(
            name=name,
            database=address.name,
            folder=str(folder),
            oid=oid,
            redirected=redirectable,
            schema_digest=digest,
        )
        for marker in (record.restored_path, record.begun_path):
            durable.discard(marker)
        durable.write(record.url_path, address.url(address.name).encode(), mode=0o600)
        durable.write(record.record_path, msgspec.json.encode(record))
        try:
            for other in catalog.ours(session, address.name):
                catalog.drop(session, other)
            _clone(session, record)
        except BaseException:
            with suppress(DatabaseError):
                catalog.open(session, address.name)
            raise
    return record


def missing(address: Address) -> DatabaseError:
    """There is nothing to be updated."""
    return DatabaseError(
        f"There is no database {address.name} on the PostgreSQL server ({address.server}).",
        next_step="Make it, empty, owned by the app's role: `createdb -O ROLE NAME`.",
    )


def migration_url(record: Cloned) -> str:
    """Where the migration works: the clone, whatever it is called then."""
    return _address(record).url(_new(record) if record.redirected else record.database)


def prepare(record: Cloned) -> None:
    """The clone is as the database was at `take`, and the database is where it was."""
    end_marked(record.folder)
    with _around(record) as session:
        if _where(session, record) != record.database:
            catalog.close(session, record.database)
            catalog.rename(session, {record.database: _new(record), _old(record): record.database})
        if record.begun_path.exists() or catalog.oid(session, _new(record)) is None:
            catalog.drop(session, _new(record))
            _clone(session, record)
        else:
            catalog.close(session, record.database)
        durable.write(record.begun_path, b"")
        if not record.redirected:
            _swap_in(session, record)


def adopt(record: Cloned) -> None:
    """The clone takes the database's name."""
    end_marked(record.folder)
    with _around(record) as session:
        if _where(session, record) == record.database:
            _swap_in(session, record)
        catalog.open(session, record.database)


def has_changed(record: Cloned) -> bool:
    """Also where nobody is let in: what has not come to its end is to be undone."""
    with _around(record) as session:
        if not catalog.is_open(session, record.database):
            return True
    with _server(record).connected(record.database) as inside:
        return contents.schema(inside) != record.schema_digest


def restore(record: Cloned, *, keep_replaced: bool) -> None:
    """The database is what it was at `take`, and open. What stood in its place stays beside it."""
    end_marked(record.folder)
    if record.restored_path.exists():
        return
    replaced = _beside(record, "replaced")
    with _around(record) as session:
        if _where(session, record) != record.database:
            catalog.drop(session, replaced)
            renamed = {_old(record): record.database}
            if catalog.oid(session, record.database) is not None:
                catalog.close(session, record.database)
                renamed = {record.database: replaced, **renamed}
            catalog.rename(session, renamed, opened=record.database)
        catalog.open(session, record.database)
        if not keep_replaced:
            catalog.drop(session, replaced)
        kept = catalog.oid(session, replaced) is not None
    where = f"the database {replaced}" if kept else ""
    durable.write(record.restored_path, where.encode())


def release(record: Cloned) -> None:
    """Forgets it. What lies on the server is swept up when nobody waits for it."""
    if record.folder_path.is_dir():
        # In this order: without the record nobody asks whether a migration has begun.
        paths = (record.record_path, record.begun_path, record.restored_path, record.url_path)
        for path in paths:
            durable.discard(path)


def _clone(session: Connection, record: Cloned) -> None:
    catalog.close(session, record.database)
    catalog.clone(session, record.database, _new(record))
    properties.give(session, _new(record), properties.read(session, record.database))


def _swap_in(session: Connection, record: Cloned) -> None:
    catalog.close(session, record.database)
    catalog.close(session, _new(record))
    renamed = {record.database: _old(record), _new(record): record.database}
    catalog.rename(session, renamed, opened=record.database)


def _where(session: Connection, record: Cloned) -> str:
    """What the database that was there at `take` is called now: its own name, or `old`."""
    name = catalog.name_of(session, record.oid)
    if name not in {record.database, _old(record)}:
        raise DatabaseError(
            f"The database {record.database} as it was before the update is not on the server any "
            "more, so it cannot be put back; what is there was left as it is.",
            next_step="Put a backup back: `surefoot restore BACKUP` (`surefoot backups`).",
        )
    return name


def _new(record: Cloned) -> str:
    return _beside(record, "new")


def _old(record: Cloned) -> str:
    return _beside(record, "old")


def _beside(record: Cloned, role: names.Role) -> str:
    return names.beside(record.database, role, record.folder_path.name)


def _address(record: Cloned) -> Address:
    try:
        return read(stored.read(record.url_path).decode(errors="replace"))
    except FileNotFoundError:
        raise DatabaseError(
            f"The snapshot's folder {record.folder} has lost what it takes to reach the database "
            f"{record.database}.",
            next_step="Put a backup back: `surefoot restore BACKUP` (`surefoot backups`).",
        ) from None


def _server(record: Cloned) -> Server:
    return Server.at(_address(record))


@contextmanager
def _around(record: Cloned) -> Iterator[Connection]:
    with _server(record).around() as session:
        yield session
