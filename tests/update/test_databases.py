"""Several databases, of which a migration reaches more than its own."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from surefoot.config import parse
from surefoot.databases import files, pinnable
from surefoot.errors import MigrationError
from surefoot.home import Home
from surefoot.releases.store import Store
from surefoot.update.databases import Databases, ways
from surefoot.update.lock import Update

if TYPE_CHECKING:
    from pathlib import Path

TOML = """\
[app]
command = "python app.py"
[source]
git = "https://example.org/notes.git"
[database.main]
url = "sqlite:///data/main.db"
variable = "MAIN_URL"
migrate = "python migrate.py"
[database.search]
url = "sqlite:///data/search.db"
variable = "SEARCH_URL"
migrate = "none"
"""
MIGRATION = """\
import os, sqlite3, sys
main = sqlite3.connect(os.environ["MAIN_URL"][10:], isolation_level=None)
main.execute("ATTACH ? AS search", (os.environ["SEARCH_URL"][10:],))
main.execute("DELETE FROM search.notes")
main.execute("ALTER TABLE main.notes ADD COLUMN words")
sys.exit({code})
"""


class World:
    """A home with two databases of one note each; the migration of the one empties the other."""

    way = "copied (it is small)"

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.data.mkdir(parents=True)
        self.config = parse(TOML, {})
        self.databases = Databases(self.home, self.config, Store(self.home), lambda *_: None)
        self.code = self.home.releases / ("a" * 12) / "app"
        self.code.mkdir(parents=True)
        (self.code.parent / "venv").symlink_to(sys.prefix)
        for name in self.config.database:
            with closing(self.open(name)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text)")
                connection.execute("INSERT INTO notes (text) VALUES ('a')")

    def open(self, name: str) -> sqlite3.Connection:
        path = self.config.database[name].path(self.home.root)
        return sqlite3.connect(path, isolation_level=None)

    def content(self) -> dict[str, list[str]]:
        found = {}
        for name in self.config.database:
            with closing(self.open(name)) as connection:
                found[name] = list(connection.iterdump())
        return found

    def taken(self, *, code: int = 0) -> Update:
        (self.code / "migrate.py").write_text(MIGRATION.format(code=code))
        update = Update(
            id="20260101T000000-abcdef", from_="b" * 12, to="a" * 12, heeded=["main", "search"]
        )
        update = self.databases.take(update)
        assert set(ways(update).values()) == {self.way}
        return update


@pytest.fixture(params=["copied", "pinned"])
def world(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path)
    if request.param == "pinned":
        monkeypatch.setattr(pinnable, "PAYS_FROM_BYTES", 1)
        monkeypatch.setattr(files, "shares_blocks", lambda _: False)
        made.way = "pinned"
    return made


@pytest.mark.parametrize("code", [0, 1])
def test_what_a_migration_did_to_another_database_is_undone_as_well(
    world: World, code: int
) -> None:
    before = world.content()
    update = world.taken(code=code)
    if code:
        with pytest.raises(MigrationError):
            world.databases.migrate(update)
    else:
        update = world.databases.migrate(update)
        assert world.content() != before
    world.databases.put_back(update)
    assert world.content() == before
    world.databases.give_up(update)
    assert world.content() == before


def test_rows_of_a_database_that_no_migration_has_reached_stay(world: World) -> None:
    update = world.taken()
    (world.code / "migrate.py").write_text("")
    update = world.databases.migrate(update)
    with closing(world.open("search")) as connection:
        connection.execute("INSERT INTO notes (text) VALUES ('of a user')")
    before = world.content()
    world.databases.put_back(update)
    assert world.content() == before
    world.databases.give_up(update)


@pytest.mark.parametrize("world", ["copied", "pinned"], indirect=True)
def test_a_migration_is_told_of_it_with_the_driver_of_the_app(world: World) -> None:
    text = TOML.replace('"sqlite:///data/main.db"', '"sqlite+aiosqlite:///data/main.db"')
    world.config = parse(text, {})
    world.databases = Databases(world.home, world.config, Store(world.home), lambda *_: None)
    update = world.taken()
    (world.code / "migrate.py").write_text(
        "import os; open('told', 'w').write(os.environ['MAIN_URL'])"
    )
    update = world.databases.migrate(update)
    told = (world.code / "told").read_text()
    assert told.startswith("sqlite+aiosqlite:////")
    assert told.endswith("/main.db")
    assert world.databases.get("main").copy(None, world.home.root).url == (
        f"sqlite+aiosqlite:///{world.home.root}/database-main/main.db"
    )
    world.databases.give_up(update)


ENV = """\
from alembic import context
from sqlalchemy import create_engine
with create_engine({url!r}).connect() as connection:
    context.configure(connection=connection, as_sql={as_sql})
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = "revision = 'one'\ndown_revision = None\ndef upgrade(): pass\n"


@pytest.mark.parametrize("world", ["copied"], indirect=True)
@pytest.mark.parametrize(
    ("url", "as_sql"), [("sqlite:///data/main.db", True), ("sqlite:///data/other.db", False)]
)
def test_alembic_that_ends_well_and_has_migrated_nothing_has_failed(
    world: World, url: str, as_sql: bool
) -> None:
    """Without a `variable` no rehearsal could find it out."""
    text = TOML.replace('migrate = "python migrate.py"\n', "").replace(
        'variable = "MAIN_URL"\n', ""
    )
    world.config = parse(text, {})
    world.databases = Databases(world.home, world.config, Store(world.home), lambda *_: None)
    (world.code / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
    (world.code / "migrations" / "versions").mkdir(parents=True)
    (world.code / "migrations" / "env.py").write_text(ENV.format(url=url, as_sql=as_sql))
    (world.code / "migrations" / "versions" / "one.py").write_text(REVISION)
    (world.code / "data").symlink_to(world.home.data)
    before = world.content()
    update = world.databases.take(Update(id="20260101T000000-abcdef", from_="b" * 12, to="a" * 12))
    assert update.pending == ["main"]
    with pytest.raises(MigrationError, match=r"main\.db was not migrated"):
        world.databases.migrate(update)
    world.databases.put_back(update)
    assert world.content() == before
    world.databases.give_up(update)
