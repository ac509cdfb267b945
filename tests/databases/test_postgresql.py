"""A PostgreSQL database, asked and copied while an app uses it, as a role that is no superuser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from tests.databases.postgresql_server import PASSWORD, QUOTED_PASSWORD
from tests.lasting import lasting
from tests.power.flushes import DUMPS, flushes

from surefoot.config import Database as Settings
from surefoot.databases import backups, database
from surefoot.databases.comparison import Change
from surefoot.databases.postgresql import dumps, names, url
from surefoot.databases.postgresql.database import PostgresqlDatabase
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from tests.databases.postgresql_server import PostgresqlServer

SCHEMA = """
    CREATE TABLE orders (id int PRIMARY KEY, text text NOT NULL);
    CREATE TABLE items (order_id int REFERENCES orders, amount int);
    CREATE TABLE alembic_version (version_num text PRIMARY KEY);
    INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 20) n;
    INSERT INTO items SELECT n, n * 10 FROM generate_series(1, 20) n;
    INSERT INTO alembic_version VALUES ('r1');
"""


@pytest.fixture
def shop(postgresql: PostgresqlServer) -> PostgresqlDatabase:
    postgresql.make_database("shop")
    run(postgresql, "shop", SCHEMA)
    found = database.of("main", Settings(url=postgresql.url("shop")), Path("/nowhere"))
    assert isinstance(found, PostgresqlDatabase)
    return found


def run(server: PostgresqlServer, name: str, statements: str) -> None:
    with server.role(name) as session:
        session.execute(statements.encode())


def content(dump: str) -> str:
    """Without what names the database."""
    return dump.rpartition("\\connect ")[2].partition("\n")[2]


def put(shop: PostgresqlDatabase, made: backups.Kept, folder: Path) -> str | None:
    return shop.put(made, folder, update="u2", release="r1")


def kept(shop: PostgresqlDatabase, folder: Path) -> backups.Kept:
    return shop.back_up(folder, update="u1", release="r1")


# -- URLs


@pytest.mark.parametrize(
    ("text", "name", "parameters", "password"),
    [
        ("postgresql://u:pw@h:5433/d", "d", {"user": "u", "host": "h", "port": "5433"}, "pw"),
        ("postgresql+asyncpg://u@h/d?ssl=require", "d",
         {"user": "u", "host": "h", "sslmode": "require"}, None),
        ("postgres://u:a%40b%3A@[::1]:1/d%20e", "d e",
         {"user": "u", "host": "::1", "port": "1"}, "a@b:"),
        ("postgresql+psycopg2:///d?host=/run/pg&user=u&password=pw", "d",
         {"user": "u", "host": "/run/pg"}, "pw"),
        ("postgresql://%2Frun%2FPG/d?prepared_statement_cache_size=0", "d",
         {"host": "/run/PG"}, None),
        ("postgresql://u:p@ss@h/d?connect_timeout=3", "d",
         {"user": "u", "host": "h", "connect_timeout": "3"}, "p@ss"),
        ("postgresql://h?dbname=d", "d", {"host": "h"}, None),
    ],
)  # fmt: skip
def test_urls_are_read_as_apps_write_them(
    text: str, name: str, parameters: dict[str, str], password: str | None
) -> None:
    address = url.read(text)

    assert (address.name, address.parameters, address.password) == (name, parameters, password)
    assert password is None or password not in repr(address)
    again = url.read(address.url("an other"))
    assert again.name == "an other"
    assert (again.parameters, again.password) == (parameters, password)
    assert again.url("x").partition("://")[0] == text.partition("://")[0]


@pytest.mark.parametrize("text", ["postgresql://u:pw@h", "postgresql://u:pw@a,b/d", "pg://u:pw@h"])
def test_what_is_no_url_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        url.read(text)

    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "shop", "ä" * 31, "x" * 63, "x" * 62 + "y"])
def test_the_databases_beside_it_are_known_by_their_names(name: str) -> None:
    made = names.beside(name, "replaced", "20261124T225912-ab12cd")

    assert len(made.encode()) <= names.LONGEST_BYTES
    assert names.role(name, made) == "replaced"
    assert names.role(f"{name}2", made) is None
    assert names.role("x" * 60, made) is None


# -- without psycopg, and without a server


def test_without_psycopg_the_error_names_the_extra(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from pathlib import Path
from surefoot.config import Database
from surefoot.databases import database
database.of("main", Database(url="postgresql://u:hidden@h/d"), Path("/"))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert "pip install 'surefoot[postgresql]'" in ended.stderr
    assert "hidden" not in ended.stderr


def test_a_server_that_is_not_there_is_said_without_the_password() -> None:
    gone = PostgresqlDatabase("main", "postgresql://notes:hidden@127.0.0.1:1/shop")

    with pytest.raises(DatabaseError, match="cannot be reached") as caught:
        gone.exists()

    assert "hidden" not in str(caught.value) + repr(gone)


def test_a_wrong_password_is_not_repeated(postgresql: PostgresqlServer) -> None:
    postgresql.make_database("shop")
    wrong = PostgresqlDatabase("main", postgresql.url("shop").replace(QUOTED_PASSWORD, "hidden"))

    with pytest.raises(DatabaseError, match="password authentication failed") as caught:
        wrong.schema()

    assert "hidden" not in str(caught.value)


# -- what is known of it


def test_it_is_there_and_knows_its_revision(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase
) -> None:
    assert shop.exists()
    assert shop.revisions() == ["r1"]
    assert shop.size_bytes() > 8192
    assert not PostgresqlDatabase("main", postgresql.url("other")).exists()


CHANGES = [
    "CREATE TABLE t ()",
    "ALTER TABLE items ADD COLUMN note text",
    "ALTER TABLE items ALTER COLUMN amount SET DEFAULT 1",
    "ALTER TABLE items ALTER COLUMN amount TYPE bigint",
    "CREATE INDEX ON items (amount)",
    "ALTER TABLE items ADD CHECK (amount > 0)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE colour AS ENUM ('red')",
    "CREATE SEQUENCE s",
    "CREATE SCHEMA other",
    "ALTER TABLE items ENABLE ROW LEVEL SECURITY",
    "UPDATE alembic_version SET version_num = 'r2'",
]


def test_every_change_of_the_schema_is_seen(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase
) -> None:
    seen = [shop.schema()]

    run(postgresql, "shop", "INSERT INTO orders VALUES (1000, 'rows are not schema')")
    assert shop.schema() == seen[0]

    for change in CHANGES:
        run(postgresql, "shop", change)
        seen.append(shop.schema())
        assert seen.count(seen[-1]) == 1, change


# -- backups


def test_a_backup_made_while_it_is_used_is_put_back_exactly(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    run(postgresql, "postgres", "ALTER ROLE notes IN DATABASE shop SET search_path = public, x")
    before = postgresql.dump("shop")
    with postgresql.role("shop") as busy:
        busy.execute("BEGIN")
        busy.execute("INSERT INTO orders VALUES (99, 'not committed')")
        made = kept(shop, tmp_path)
    schema = shop.schema()
    run(postgresql, "shop", "DROP TABLE items; UPDATE orders SET text = ''")
    changed = postgresql.dump("shop")

    where = put(shop, made, tmp_path)

    assert postgresql.dump("shop") == before
    assert shop.schema() == schema
    assert where == f"the database {names.beside('shop', 'replaced', made.name)}"
    replaced = str(where).removeprefix("the database ")
    with postgresql.superuser("postgres") as session:
        session.execute(f"ALTER DATABASE {replaced} ALLOW_CONNECTIONS true".encode())
    assert content(postgresql.dump(replaced)) == content(changed)
    assert postgresql.databases() == {"shop", replaced}
    assert made.facts is not None
    assert made.facts.revisions == ["r1"]
    assert made.facts.schema_digest == schema
    assert made.file.stat().st_mode & 0o777 == 0o600
    backups.verify(backups.get(tmp_path, made.name))


def test_nothing_that_is_kept_or_run_shows_the_password(
    shop: PostgresqlDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = subprocess.run

    def watched(*arguments: object, **options: object) -> object:
        seen.append(repr(arguments))
        return real(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", watched)

    made = kept(shop, tmp_path)

    assert any("pg_dump" in call for call in seen)
    text = "".join(seen) + made.name + made.file.with_suffix(".json").read_text()
    assert PASSWORD not in text
    assert QUOTED_PASSWORD not in text


def test_a_damaged_backup_replaces_nothing(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    made = kept(shop, tmp_path)
    before = postgresql.dump("shop")
    made.file.write_bytes(made.file.read_bytes()[:-100] + bytes(100))

    with pytest.raises(DatabaseError, match="is damaged"):
        put(shop, backups.get(tmp_path, made.name), tmp_path)

    assert postgresql.dump("shop") == before
    made.file.write_bytes(b"x" * made.file.stat().st_size)
    description = made.file.with_suffix(".json")
    facts = json.loads(description.read_text()) | {"sha256": ""}
    description.write_text(json.dumps(facts))
    with pytest.raises(DatabaseError, match="is damaged"):  # pg_restore says so
        backups.verify(backups.get(tmp_path, made.name))


def test_what_cannot_be_restored_leaves_everything_as_it_is(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    made = kept(shop, tmp_path)
    with postgresql.superuser("shop") as session:
        session.execute("ALTER TABLE items OWNER TO super")
        session.execute("GRANT SELECT ON items TO notes")
    foreign = kept(shop, tmp_path)
    before = postgresql.dump("shop")

    with pytest.raises(DatabaseError, match=r"cannot be restored.*must be member of role"):
        put(shop, foreign, tmp_path)

    assert postgresql.dump("shop") == before
    assert postgresql.databases() == {"shop"}
    assert made.name != foreign.name


def test_a_dump_has_lasted_when_it_is_made(shop: PostgresqlDatabase, tmp_path: Path) -> None:
    with shop._inside() as session, lasting(tmp_path) as log:
        dumps.dump(shop.server, session, shop.address.name, tmp_path / "shop.dump")
    assert {f.place for f in flushes() if f.place.startswith(f"{DUMPS}:")} <= log.needed()


def test_a_pg_dump_that_is_too_old_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(dumps, "_PLACES", (f"{tmp_path}/*/bin",))

    with pytest.raises(DatabaseError, match="PostgreSQL 15, and pg_dump is only of version 9") as e:
        dumps.programs(150000)

    assert "postgresql-client-15" in str(e.value)


def test_no_pg_dump_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(dumps, "_PLACES", ())

    with pytest.raises(DatabaseError, match="pg_dump is not installed"):
        dumps.programs(150000)


# -- copies


def test_a_copy_is_migrated_and_compared_while_the_app_goes_on(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    before = postgresql.dump("shop")
    with postgresql.role("shop") as busy:
        busy.execute("SELECT 1")
        copy = shop.copy(kept(shop, tmp_path), tmp_path / "u1")
        place = url.read(copy.url)
        assert place.name != "shop"
        assert place.password == PASSWORD
        run(
            postgresql,
            place.name,
            """
            DELETE FROM items WHERE order_id > 15;
            ALTER TABLE orders RENAME COLUMN text TO words;
            ALTER TABLE items DROP COLUMN amount;
            ALTER TABLE orders RENAME TO purchases;
            CREATE TABLE notes (id int);
            UPDATE alembic_version SET version_num = 'r2';
            """,
        )

    assert copy.changes() == [
        Change("items", 20, 15, ("amount",)),
        Change("orders", 20, None, is_gone=True),
        Change("notes", None, 0),
        Change("purchases", None, 20),
    ]
    assert postgresql.dump("shop") == before
    assert shop.revisions() == ["r1"]
    assert copy.revisions() == ["r2"]
    shop.sweep(replaced=False)
    assert postgresql.databases() == {"shop"}


def test_what_was_renamed_with_all_that_was_in_it_is_not_lost(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    copy = shop.copy(kept(shop, tmp_path), tmp_path / "u1")
    run(
        postgresql,
        url.read(copy.url).name,
        """
        ALTER TABLE orders RENAME COLUMN text TO words;
        ALTER TABLE items RENAME TO parts;
        """,
    )

    assert copy.changes() == [
        Change("items", 20, 20, renamed_to="parts"),
        Change("orders", 20, 20),
    ]


def test_a_column_that_has_lost_a_value_is_no_renaming(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    copy = shop.copy(kept(shop, tmp_path), tmp_path / "u1")
    run(
        postgresql,
        url.read(copy.url).name,
        "ALTER TABLE orders RENAME COLUMN text TO words;"
        # The same values, but two of them in each other's place.
        "UPDATE orders SET words = 'order ' || (CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE id END)",
    )

    assert copy.changes() == [Change("orders", 20, 20, ("text",)), Change("items", 20, 20)]


def test_two_backups_are_compared_and_nothing_is_left_of_it(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    then = kept(shop, tmp_path)
    run(postgresql, "shop", "INSERT INTO orders VALUES (21, ''); ALTER TABLE items ADD note text")
    now = kept(shop, tmp_path)

    assert shop.compare(now, then) == [Change("items", 20, 20, ("note",)), Change("orders", 21, 20)]
    copy = shop.copy(now, tmp_path / "u1")
    assert copy.differences(then) == ["items.note"]
    assert postgresql.databases() == {"shop", url.read(copy.url).name, copy.origin}


def test_a_copy_of_nothing_is_empty(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    copy = shop.copy(None, tmp_path / "u1")

    assert copy.revisions() == []
    run(postgresql, url.read(copy.url).name, "CREATE TABLE t ()")
    assert copy.changes() == [Change("t", None, 0)]


def test_a_place_with_nothing_is_seen_to_be_gone_to(
    shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    place = shop.nothing(tmp_path)

    with pytest.raises(DatabaseError) as caught:
        place.schema()
    assert place.was_reached(f"psycopg.OperationalError: {caught.value}")
    assert not place.was_reached('relation "alembic_version" does not exist')


DJANGO = """
import os, django
from django.conf import settings
from urllib.parse import urlsplit, unquote
url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes"],
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username,
        "PASSWORD": unquote(url.password or ""), "HOST": url.hostname, "PORT": url.port,
    }},
)
django.setup()
from django.core.management import execute_from_command_line
execute_from_command_line()
"""


def test_django_is_asked_with_an_empty_database_that_has_its_notes(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    (tmp_path / "manage.py").write_text(DJANGO)

    def migrate(place: PostgresqlDatabase, *arguments: str) -> int:
        command = [sys.executable, "manage.py", "migrate", *arguments]
        environment = {"DATABASE_URL": place.url}
        return subprocess.run(command, env=environment, cwd=tmp_path, check=False).returncode

    assert shop.outline(tmp_path / "notes") is None
    assert shop.applied() == []
    assert migrate(shop) == 0
    assert shop.applied() == ["contenttypes.0002_remove_content_type_name"]
    made = kept(shop, tmp_path)
    assert made.facts is not None
    assert made.facts.applied == shop.applied()

    outline = shop.outline(tmp_path / "notes")

    assert outline is not None
    assert migrate(outline, "--check") == 0
    with postgresql.role(url.read(outline.url).name) as session:
        session.execute("DELETE FROM django_migrations WHERE name LIKE '0002%'")
    assert migrate(outline, "--check") == 1
    assert migrate(shop, "--check") == 0
    shop.sweep(replaced=False)
    assert postgresql.databases() == {"shop"}


def test_who_has_it_open_is_seen_by_its_port(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase
) -> None:
    postgresql.make_database("other")
    assert not shop.is_open_in({os.getpid()})
    with psycopg.connect(postgresql.url("other")):
        assert not shop.is_open_in({os.getpid()})
        with psycopg.connect(postgresql.url("shop")):
            assert shop.is_open_in({os.getpid()})
            assert not shop.is_open_in({1})


def test_what_an_interrupted_rehearsal_has_left_is_swept_up(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase, tmp_path: Path
) -> None:
    copy = shop.copy(kept(shop, tmp_path), tmp_path / "u1")
    postgresql.make_database("shop_surefoot_not_ours")
    postgresql.make_database("shopper")
    with postgresql.role(url.read(copy.url).name):
        shop.sweep(replaced=False)

    assert postgresql.databases() == {"shop", "shop_surefoot_not_ours", "shopper"}


# -- what it needs


def said(shop: PostgresqlDatabase) -> str:
    return " ".join(map(str, shop.lacks()))


def test_an_ordinary_role_that_owns_it_and_may_make_databases_is_enough(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase
) -> None:
    with postgresql.superuser("postgres") as session:
        session.execute("ALTER ROLE notes IN DATABASE shop SET search_path = public")
        session.execute("GRANT CONNECT ON DATABASE shop TO notes")
        session.execute("COMMENT ON DATABASE shop IS 'a shop'")
    before = postgresql.dump("shop")

    assert said(shop) == ""

    assert postgresql.dump("shop") == before


@pytest.mark.parametrize(
    ("change", "back", "expected"),
    [
        ("ALTER ROLE notes NOCREATEDB", "ALTER ROLE notes CREATEDB", "ALTER ROLE notes CREATEDB"),
        ("ALTER DATABASE shop OWNER TO super", "ALTER DATABASE shop OWNER TO notes",
         "super does. As a superuser: ALTER DATABASE shop OWNER TO notes"),
        ("ALTER DATABASE shop SET log_min_duration_statement = 1",
         "ALTER DATABASE shop RESET ALL", 'permission denied to set parameter "log_min_duration'),
        ("ALTER ROLE super IN DATABASE shop SET search_path = public",
         "ALTER ROLE super IN DATABASE shop RESET ALL", "cannot be given to a clone"),
        ("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')",
         "SELECT pg_drop_replication_slot('feed')", "The logical replication slot feed belongs"),
        ("CREATE TABLE secrets ()", "DROP TABLE secrets", "may not read public.secrets"),
        ("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;"
         "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC",
         "GRANT CONNECT ON DATABASE postgres TO PUBLIC;"
         "GRANT CONNECT ON DATABASE template1 TO PUBLIC", "must be let into the database postgres"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_with_what_to_do(
    postgresql: PostgresqlServer,
    shop: PostgresqlDatabase,
    change: str,
    back: str,
    expected: str,
) -> None:
    with postgresql.superuser("shop") as session:
        session.execute(change.encode())
    try:
        try:
            found = said(shop)
        except DatabaseError as error:
            found = str(error)
        assert expected in found
    finally:
        with postgresql.superuser("shop") as session:
            session.execute(back.encode())
    assert said(shop) == ""


def test_who_could_not_be_sent_away_is_known_before(
    postgresql: PostgresqlServer, shop: PostgresqlDatabase
) -> None:
    with postgresql.superuser("postgres") as session:
        session.execute(
            "CREATE ROLE clerk LOGIN PASSWORD 'clerk'; CREATE ROLE boss SUPERUSER LOGIN"
        )
        session.execute("ALTER ROLE boss PASSWORD 'boss'")
    address = f"host=127.0.0.1 port={postgresql.port} dbname=shop"
    try:
        with (
            psycopg.connect(address, user="clerk", password="clerk", application_name="till"),
            psycopg.connect(address, user="boss", password="boss"),
            psycopg.connect(postgresql.url("shop")),
        ):
            assert shop.intruders() == ["boss", "clerk (till)"]
            with postgresql.superuser("postgres") as session:
                session.execute("GRANT pg_signal_backend TO notes")
            assert shop.intruders() == ["boss"]
        assert shop.intruders() == []
    finally:
        with postgresql.superuser("postgres") as session:
            session.execute("REVOKE pg_signal_backend FROM notes; DROP ROLE clerk, boss")
