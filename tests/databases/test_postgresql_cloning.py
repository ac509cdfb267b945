"""Putting a PostgreSQL database back exactly: whatever fails, and whenever somebody is killed."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import msgspec
import psycopg
import pytest
from psycopg import Transaction
from tests.databases import support
from tests.databases.postgresql_server import PASSWORD, QUOTED_PASSWORD

from surefoot.databases import snapshot
from surefoot.databases.postgresql import catalog, names, properties, url
from surefoot.databases.postgresql.database import PostgresqlDatabase
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.databases.postgresql_server import PostgresqlServer

SCHEMA = """
    CREATE TABLE orders (id serial PRIMARY KEY, text text NOT NULL);
    CREATE INDEX ON orders (text);
    CREATE TYPE colour AS ENUM ('red');
    INSERT INTO orders (text) SELECT 'order ' || n FROM generate_series(1, 20) n;
    SELECT lo_from_bytea(0, 'a large object');
"""
# What no transaction would take back: it is in none, or is committed half way.
MIGRATION = (
    "ALTER TABLE orders ADD COLUMN paid int DEFAULT 0",
    "ALTER TYPE colour ADD VALUE 'blue'",
    "UPDATE orders SET text = upper(text)",
    "CREATE INDEX CONCURRENTLY ON orders (paid)",
    "SELECT setval('orders_id_seq', 1000)",
    "VACUUM",
)


@pytest.fixture
def shop(postgresql: PostgresqlServer) -> PostgresqlDatabase:
    return made(postgresql)


def made(server: PostgresqlServer) -> PostgresqlDatabase:
    server.make_database("shop")
    with server.role("shop") as session:
        session.execute(SCHEMA)
    return PostgresqlDatabase("main", server.url("shop", driver="+asyncpg"))


def take(
    shop: PostgresqlDatabase, folder: Path, *, redirectable: bool = True, may_change: bool = True
) -> snapshot.Snapshot | None:
    return shop.take(
        folder,
        redirectable=redirectable,
        replaced=False,
        switchable=False,
        may_change=may_change,
    )


def taken(shop: PostgresqlDatabase, folder: Path, *, redirectable: bool = True) -> snapshot.Cloned:
    record = take(shop, folder, redirectable=redirectable)
    assert isinstance(record, snapshot.Cloned)
    return record


def migrate(server: PostgresqlServer, record: snapshot.Snapshot, *, steps: int = 99) -> None:
    """As the app's own tool would: where it is told, one statement after the other."""
    told = snapshot.migration_environment(record, "SHOP_URL")["SHOP_URL"]
    with server.role(url.read(told).name) as session:
        for statement in MIGRATION[:steps]:
            session.execute(statement.encode())


def beside(record: snapshot.Cloned, role: names.Role) -> str:
    return names.beside(record.database, role, record.folder_path.name)


# -- the whole way


@pytest.mark.parametrize("redirectable", [True, False])
def test_a_migration_is_made_on_a_clone_and_put_back_exactly(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path, redirectable: bool
) -> None:
    before = postgresql.dump("shop")
    record = taken(shop, tmp_path / "u1", redirectable=redirectable)
    snapshot.prepare(record)
    if redirectable:
        assert snapshot.migration_url(record).startswith("postgresql+asyncpg://")
        assert postgresql_name(record) == beside(record, "new")
    else:
        assert postgresql_name(record) == "shop"

    migrate(postgresql, record)
    snapshot.adopt(record)
    after = postgresql.dump("shop")
    assert "paid" in after
    assert "blue" in after
    with postgresql.role("shop") as session:  # the new release, in its probation
        session.execute("INSERT INTO orders (text, paid) VALUES ('new', 1)")

    assert snapshot.restore(record, tmp_path) is None

    assert postgresql.dump("shop") == before
    kept = beside(record, "replaced")
    assert snapshot.kept_beside(record) == f"the database {kept}"
    with postgresql.superuser("postgres") as session:
        session.execute(f"ALTER DATABASE {kept} ALLOW_CONNECTIONS true".encode())
    with postgresql.role(kept) as session:
        assert session.execute("SELECT count(*) FROM orders").fetchone() == (21,)
    snapshot.release(record)
    shop.sweep(replaced=False)
    assert postgresql.databases() == {"shop", kept}
    shop.sweep(replaced=True)
    assert postgresql.databases() == {"shop"}


def postgresql_name(record: snapshot.Snapshot) -> str:
    return url.read(snapshot.migration_url(record)).name


def test_after_the_commit_the_database_before_is_swept_up(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    record = taken(shop, tmp_path / "u1")
    snapshot.prepare(record)
    migrate(postgresql, record)
    snapshot.adopt(record)
    after = postgresql.dump("shop")
    snapshot.release(record)
    shop.sweep(replaced=False)

    assert postgresql.dump("shop") == after
    assert postgresql.databases() == {"shop"}
    assert list((tmp_path / "u1").iterdir()) == []


def test_where_nothing_can_change_nothing_is_copied(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    assert take(shop, tmp_path, may_change=False) is None
    assert postgresql.databases() == {"shop"}


def test_code_that_was_not_asked_to_migrate_is_found_out(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    record = taken(shop, tmp_path / "u1")
    assert snapshot.has_changed(record)  # it is closed
    snapshot.prepare(record)
    snapshot.adopt(record)
    assert not snapshot.has_changed(record)
    before = postgresql.dump("shop")
    with postgresql.role("shop") as session:
        session.execute("CREATE TABLE made_at_start ()")

    assert snapshot.has_changed(record)
    snapshot.restore(record, tmp_path)

    assert postgresql.dump("shop") == before


def test_a_database_that_is_not_there_is_said_before_anything_is_done(
    postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    missing = PostgresqlDatabase("main", postgresql.url("nowhere"))

    with pytest.raises(DatabaseError, match=r"no database nowhere .*createdb"):
        take(missing, tmp_path)


# -- what belongs to it as a whole


def test_owner_rights_settings_limit_and_comment_come_with_the_clone(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    postgresql.make_role("reader", "")
    with postgresql.superuser("postgres") as session:
        for statement in (
            "COMMENT ON DATABASE shop IS 'it''s the shop'",
            "ALTER DATABASE shop CONNECTION LIMIT 7",
            "ALTER DATABASE shop SET search_path = '$user', \"My Schema\", public",
            "ALTER DATABASE shop SET statement_timeout = '5min'",
            "ALTER DATABASE shop SET application_name = 'a=b, \"c\"'",
            "ALTER ROLE notes IN DATABASE shop SET default_transaction_read_only = on",
            "REVOKE CONNECT ON DATABASE shop FROM PUBLIC",
            "GRANT CONNECT ON DATABASE shop TO reader WITH GRANT OPTION",
            "GRANT TEMPORARY ON DATABASE shop TO PUBLIC",
        ):
            session.execute(statement.encode())
        wanted = properties.read(session, "shop")
        dumped = postgresql.dump("shop")
        assert len(wanted.settings) == 4
        assert wanted.rights is not None

        record = taken(shop, tmp_path / "u1")
        snapshot.prepare(record)
        snapshot.adopt(record)

        assert catalog.oid(session, "shop") != record.oid
        assert properties.read(session, "shop") == wanted
        assert sorted(postgresql.dump("shop").splitlines()) == sorted(dumped.splitlines())
        snapshot.restore(record, None)
        assert catalog.oid(session, "shop") == record.oid
        assert properties.read(session, "shop") == wanted
        session.execute("DROP OWNED BY reader")
    postgresql.drop_all()
    with postgresql.superuser("postgres") as session:
        session.execute("DROP ROLE reader")


def test_a_group_may_own_it(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    with postgresql.superuser("postgres") as session:
        session.execute("CREATE ROLE shopkeepers")
        session.execute("GRANT shopkeepers TO notes")
        session.execute("ALTER DATABASE shop OWNER TO shopkeepers")

        record = taken(shop, tmp_path / "u1")
        snapshot.prepare(record)
        snapshot.adopt(record)

        assert properties.read(session, "shop").owner == "shopkeepers"
    postgresql.drop_all()
    with postgresql.superuser("postgres") as session:
        session.execute("DROP ROLE shopkeepers")


def test_a_setting_that_only_a_superuser_may_make_leaves_it_as_it_is(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    with postgresql.superuser("postgres") as session:
        session.execute("ALTER DATABASE shop SET log_min_duration_statement = 100")
    before = postgresql.dump("shop")

    with pytest.raises(DatabaseError, match='permission denied to set parameter "log_min'):
        taken(shop, tmp_path / "u1")

    assert postgresql.dump("shop") == before
    with postgresql.role("shop"):
        pass


# -- who is in it


class Pool:
    """An app's connections, which come back as often as they are ended."""

    def __init__(self, server: PostgresqlServer, name: str, size: int = 3) -> None:
        self._server, self._name = server, name
        self.written: set[str] = set()
        self.ended = self.refused = 0
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(size)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        support.wait_for(lambda: len(self.written) > 5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        count = 0
        while not self._stopped.is_set():
            try:
                session = self._server.role(self._name)
            except psycopg.OperationalError:
                self.refused += 1
                time.sleep(0.01)
                continue
            with contextlib.suppress(psycopg.Error), contextlib.closing(session):
                while not self._stopped.is_set():
                    count += 1
                    text = f"worker {number} row {count}"
                    session.execute("INSERT INTO orders (text) VALUES (%s)", [text])
                    self.written.add(text)
                    time.sleep(0.005)
            self.ended += not self._stopped.is_set()


def texts(server: PostgresqlServer, name: str = "shop") -> set[str]:
    with server.role(name) as session:
        return {text for (text,) in session.execute("SELECT text FROM orders")}


def test_a_pool_is_ended_and_kept_out_and_loses_no_row(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    with Pool(postgresql, "shop") as pool:
        record = taken(shop, tmp_path / "u1")
        before = set(pool.written)
        refused = pool.refused
        snapshot.prepare(record)
        migrate(postgresql, record, steps=1)
        support.wait_for(lambda: pool.refused > refused + 5)
        assert pool.written == before
        snapshot.adopt(record)
        support.wait_for(lambda: pool.written > before)
        probation = set(pool.written) - before
        snapshot.restore(record, None)
        after = set(pool.written)
        support.wait_for(lambda: pool.written > after)

    assert pool.ended >= 6
    found = texts(postgresql)
    assert before <= found
    assert not probation & found  # taken back with the clone that it was written to
    assert pool.written - after <= found


def test_who_cannot_be_ended_is_named_and_everybody_is_let_in_again(
    postgresql: PostgresqlServer,
    shop: PostgresqlDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalog, "PATIENCE_S", 0.2)
    with psycopg.connect(
        host=str(postgresql.folder), port=postgresql.port, user="super", dbname="shop",
        application_name="the report", autocommit=True,
    ) as foreign:  # fmt: skip
        with pytest.raises(DatabaseError, match=r"in use by super \(the report\)"):
            taken(shop, tmp_path / "u1")
        assert foreign.execute("SELECT 1").fetchone() == (1,)

    assert texts(postgresql)
    assert postgresql.databases() == {"shop"}


def test_a_prepared_transaction_is_told_of(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    with postgresql.role("shop") as session:
        session.execute("BEGIN")
        session.execute("INSERT INTO orders (text) VALUES ('in doubt')")
        session.execute("PREPARE TRANSACTION 'doubt'")
    try:
        with pytest.raises(DatabaseError, match="prepared transaction doubt"):
            taken(shop, tmp_path / "u1")
        texts(postgresql)
    finally:
        with postgresql.role("shop") as session:
            session.execute("ROLLBACK PREPARED 'doubt'")


def test_a_migration_that_was_left_behind_is_ended_on_the_server(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    before = postgresql.dump("shop")
    record = taken(shop, tmp_path / "u1")
    snapshot.prepare(record)
    with postgresql.role(postgresql_name(record)) as orphan:
        orphan.execute("BEGIN")
        orphan.execute("LOCK TABLE orders")
        snapshot.prepare(record)
        with pytest.raises(psycopg.OperationalError):
            orphan.execute("COMMIT")
    snapshot.restore(record, None)

    assert postgresql.dump("shop") == before


def test_passwords_are_in_no_record_and_only_where_nobody_else_reads(
    shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    record = taken(shop, tmp_path / "u1")

    text = msgspec.json.encode(record).decode() + repr(record)
    assert PASSWORD not in text
    assert QUOTED_PASSWORD not in text
    for file in (tmp_path / "u1").iterdir():
        if QUOTED_PASSWORD in file.read_text():
            assert file.stat().st_mode & 0o777 == 0o600


def test_a_snapshot_that_nobody_knows_of_is_undone_but_not_once_it_was_used(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    record = taken(shop, tmp_path / "u1")
    assert snapshot.only_taken(tmp_path / "u1") == [record]
    snapshot.restore(record, tmp_path)
    texts(postgresql)

    record = taken(shop, tmp_path / "u1")
    snapshot.prepare(record)
    snapshot.adopt(record)
    # Given up after the commit, and killed half way: it must not come back.
    assert snapshot.only_taken(tmp_path / "u1") == []


# -- killed

EVERY = int(os.environ.get("SUREFOOT_POSTGRESQL_EVERY", "5"))
"""Which of the instants are tried: 1 for all of them, some minutes."""


class Cutover:
    """The verbs, each as a process of its own would call it, on what lies in `folder`."""

    VERBS = ("take", "prepare", "migrate", "adopt", "restore")

    def __init__(self, server: PostgresqlServer, folder: Path, *, redirectable: bool) -> None:
        self._server, self._folder, self._redirectable = server, folder, redirectable
        self._shop = made(server)
        self.before = self._dump()
        with server.superuser("postgres") as session:
            self._oid = catalog.oid(session, "shop")

    def do(self, verb: str) -> None:
        getattr(self, verb)()

    def take(self) -> None:
        record = taken(self._shop, self._folder / "u1", redirectable=self._redirectable)
        (self._folder / "record").write_bytes(msgspec.json.encode(record))

    def prepare(self) -> None:
        snapshot.prepare(self._record)

    def migrate(self) -> None:
        self.prepare()
        migrate(self._server, self._record)

    def adopt(self) -> None:
        snapshot.adopt(self._record)

    def restore(self) -> None:
        for record in self._taken():
            snapshot.restore(record, self._folder)

    def put_back(self) -> None:
        """And nobody is kept out any more, and nothing was written to what is there."""
        self.restore()
        with self._server.superuser("postgres") as session:
            assert catalog.oid(session, "shop") == self._oid
        assert len(texts(self._server)) == 20
        for record in self._taken():
            snapshot.release(record)

    def go_on(self, verb: str) -> None:
        """From this verb to the end."""
        for each in self.VERBS[self.VERBS.index(verb) : -1]:
            self.do(each)
        with self._server.role("shop") as session:
            assert session.execute("SELECT sum(paid), max(text) FROM orders").fetchone() == (
                0,
                "ORDER 9",
            )

    def end(self) -> None:
        self.put_back()
        assert self._dump() == self.before
        self._shop.sweep(replaced=True)
        assert self._server.databases() == {"shop"}

    def _dump(self) -> str:
        return self._server.dump("shop")

    def _taken(self) -> list[snapshot.Cloned]:
        """Also where the process has ended before it could return the record."""
        files = (self._folder / "u1").glob("*.clone")
        return [msgspec.json.decode(file.read_bytes(), type=snapshot.Cloned) for file in files]

    @property
    def _record(self) -> snapshot.Cloned:
        return msgspec.json.decode((self._folder / "record").read_bytes(), type=snapshot.Cloned)


def runs_to_end(action: Callable[[], None], *, kill_at: int) -> bool:
    """Runs in a process of its own that is killed at its n-th word to the server or change to the
    disk: a word that changes something twice, before it is said and when it has just been said."""
    left = kill_at

    def strike() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)

    def dying() -> None:
        real_execute, real_commit = psycopg.Connection.execute, Transaction.__exit__

        def execute(self: psycopg.Connection[Any], query: Any, *rest: Any, **options: Any) -> Any:
            text = query if isinstance(query, bytes | str) else query.as_string(self)
            text = text.decode() if isinstance(text, bytes) else text
            if not text.startswith(("SET ", "SHOW ", "SELECT ", "\n")) or "setval" in text:
                strike()
                if left == 1:
                    self.pgconn.send_query(text.encode())
                    self.pgconn.flush()
                strike()
            return real_execute(self, query, *rest, **options)

        def commit(self: Transaction, *error: Any) -> Any:
            strike()
            return real_commit(self, *error)

        def before(real: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*arguments: Any) -> Any:
                strike()
                return real(*arguments)

            return counted

        psycopg.Connection.execute = execute  # type: ignore[method-assign]
        Transaction.__exit__ = commit  # type: ignore[method-assign]
        os.fsync = before(os.fsync)
        action()

    return support.runs_to_end(dying)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("redirectable", [True, False], ids=["aside", "in place"])
def test_killed_anywhere_every_verb_can_be_begun_again(
    postgresql: PostgresqlServer, tmp_path: Path, redirectable: bool
) -> None:
    """By turns it is then carried to the end, and everything put back."""
    cutover = Cutover(postgresql, tmp_path, redirectable=redirectable)
    tried = 0
    for position, verb in enumerate(cutover.VERBS):
        number = 1 + position % EVERY
        while True:
            cutover.put_back()
            for earlier in cutover.VERBS[:position]:
                if earlier != "prepare":  # a part of migrating
                    cutover.do(earlier)
            if runs_to_end(lambda verb=verb: cutover.do(verb), kill_at=number):  # type: ignore[misc]
                break
            if tried % 2 and verb != "restore":
                cutover.go_on(verb)
            tried += 1
            number += EVERY
    cutover.end()
    assert tried > 50 / EVERY


def test_a_server_that_is_killed_in_the_cutover_shows_all_or_nothing(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    with postgresql.superuser("shop") as session:
        session.execute("CHECKPOINT")  # else a crash makes the sequence skip some numbers
    before = postgresql.dump("shop")
    for moment in range(4):
        record = taken(shop, tmp_path / f"u{moment}")
        snapshot.prepare(record)
        migrate(postgresql, record)
        killer = threading.Timer(moment * 0.02, postgresql.kill)
        killer.start()
        with contextlib.suppress(DatabaseError):
            snapshot.adopt(record)
        killer.join()
        postgresql.start()
        with postgresql.superuser("postgres") as session:
            swapped = catalog.oid(session, "shop") != record.oid
            assert catalog.is_open(session, "shop") == swapped
        snapshot.adopt(record)
        assert "paid" in postgresql.dump("shop")
        snapshot.restore(record, None)
        assert postgresql.dump("shop") == before
        snapshot.release(record)
        shop.sweep(replaced=True)
