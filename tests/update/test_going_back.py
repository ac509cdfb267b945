"""Going back after the commit: real downgrades by Alembic, on real copies and backups."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from surefoot.config import parse
from surefoot.control import Processes
from surefoot.databases import backups
from surefoot.errors import ExitCode, HeldError
from surefoot.home import Home
from surefoot.releases.store import Release, Store
from surefoot.update import remembered, requests
from surefoot.update.databases import Databases
from surefoot.update.engine import Engine
from surefoot.update.going_back import GoingBack
from surefoot.update.history import History
from surefoot.update.lock import Update

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "a" * 12, "b" * 12
TOML = """\
[app]
command = "python app.py"
[source]
git = "https://example.org/notes.git"
[database]
url = "sqlite:///data/notes.db"
{variable}
[update]
rehearse = 0
"""
VARIABLE = 'variable = "NOTES_URL"'
ENV = """\
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["NOTES_URL"]).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
SCRIPT = """\
from alembic import op
revision = {revision!r}
down_revision = {before!r}

def upgrade():
    op.execute("{up}")
{down}
"""
DROPS = "def downgrade():\n    op.execute('ALTER TABLE notes DROP COLUMN words')"
LOSES = DROPS + "\n    op.execute('DELETE FROM notes WHERE id > 2')"
DOES_NOTHING = "def downgrade():\n    pass"
REFUSES = "def downgrade():\n    raise NotImplementedError('There is no way back.')"
MISSING = ""


class World:
    """A home in which the new release was committed over the old one, which added a column."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.home.data.mkdir(parents=True)
        self.config = parse(TOML.format(variable=VARIABLE), {})
        self.real = self.home.data / "notes.db"
        self.store = Store(self.home)
        self.release(OLD, ["one"])
        with closing(sqlite3.connect(self.real, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES ('one')")
            connection.executemany("INSERT INTO notes (text) VALUES (?)", [("a",), ("b",)])
        self.databases = Databases(self.home, self.config, self.store, lambda *_: None)
        self.ledger = remembered.ledger(self.home)
        self.ledger.record_commit(OLD, datetime.now(UTC), self.databases.schemas())
        self.before = self.database.back_up(self.home.backups, update="u1", release=OLD)
        with closing(sqlite3.connect(self.real, isolation_level=None)) as connection:
            connection.execute("ALTER TABLE notes ADD COLUMN words INTEGER DEFAULT 0")
            connection.execute("UPDATE alembic_version SET version_num = 'two'")
            connection.execute("INSERT INTO notes (text, words) VALUES ('since', 1)")
        self.ledger.record_commit(NEW, datetime.now(UTC), self.databases.schemas())
        self.update = Update(
            id="20260101T000000-abcdef", kind="rollback", from_=NEW, to=OLD, ref="v1"
        )
        self.told: list[tuple[str, str]] = []

    @property
    def database(self) -> Any:
        return Databases(self.home, self.config, self.store, lambda *_: None).get("main")

    def release(self, identity: str, heads: list[str]) -> None:
        folder = self.home.releases / identity
        (folder / "app").mkdir(parents=True)
        (folder / "app" / "data").symlink_to(self.home.data)
        (folder / "venv").symlink_to(sys.prefix)
        made = Release(
            id=identity, ref=identity, commit=identity, environment="e",
            created_at=datetime.now(UTC), migrations={"main": heads},
        )  # fmt: skip
        (folder / "release.json").write_bytes(msgspec.json.encode(made))

    def downgrade(self, down: str) -> None:
        """The new release, whose migration has this way back."""
        self.release(NEW, ["two"])
        code = self.home.releases / NEW / "app"
        (code / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
        (code / "migrations" / "versions").mkdir(parents=True)
        (code / "migrations" / "env.py").write_text(ENV)
        for revision, before, body in (("one", None, MISSING), ("two", "one", down)):
            text = SCRIPT.format(revision=revision, before=before, up="SELECT 1", down=body)
            (code / "migrations" / "versions" / f"{revision}.py").write_text(text)

    def decide(self, **update: Any) -> Update:
        made = {"main": self.database.back_up(self.home.backups, update="u2", release=NEW)}
        before = content(self.real)
        release = self.store.get(OLD)
        assert release is not None
        databases = Databases(self.home, self.config, self.store, lambda *_: None)
        try:
            return GoingBack(
                self.home,
                self.config,
                msgspec.structs.replace(self.update, **update),
                release,
                databases,
                self.ledger,
                lambda event, text, **_: self.told.append((event, text)),
            ).decide(made)
        finally:
            assert content(self.real) == before, "the real database was touched"
            assert not (self.home.backups / "rehearsal").exists()

    def carry_out(self, update: Update) -> Update:
        taken = self.databases.take(update)
        self.databases.migrate(taken)
        return taken

    def rows(self) -> list[str]:
        with closing(sqlite3.connect(self.real)) as connection:
            return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY id")]

    def columns(self) -> list[str]:
        with closing(sqlite3.connect(self.real)) as connection:
            return [row[1] for row in connection.execute("PRAGMA table_info(notes)")]


def content(database: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_apps_own_downgrade_takes_code_and_schema_back_and_the_data_stays(
    world: World,
) -> None:
    world.downgrade(DROPS)
    decided = world.decide()
    assert decided.downgrades == {"main": ["two@one"]}
    assert decided.restores == {}
    (said,) = [text for event, text in world.told if event == "migration_rehearsed"]
    assert "notes loses the column words" in said  # no row, but it is said
    taken = world.carry_out(decided)
    assert taken.pending == ["main"]
    assert world.columns() == ["id", "text"]
    assert world.rows() == ["a", "b", "since"]
    assert world.database.revisions() == ["one"]
    # The release that was gone back to does not work either: even that is undone.
    world.databases.put_back(taken)
    assert world.columns() == ["id", "text", "words"]
    assert world.rows() == ["a", "b", "since"]


@pytest.mark.parametrize(
    ("down", "why"),
    [
        (LOSES, "its downgrade loses data: notes loses 1 of 3 rows and the column words."),
        (DOES_NOTHING, "its downgrade does not bring the schema back: notes.words."),
        (REFUSES, "There is no way back."),
        (MISSING, "downgrade"),
    ],
)
def test_else_it_is_said_what_would_be_lost_and_a_person_is_asked(
    world: World, down: str, why: str
) -> None:
    world.downgrade(down)
    with pytest.raises(HeldError) as raised:
        world.decide()
    assert why in str(raised.value)
    assert "`surefoot rollback v1 --restore-database`" in raised.value.next_step
    assert world.before.name in raised.value.next_step
    assert "notes loses 1 of 3 rows and the column words" in raised.value.next_step
    assert "rows before" in raised.value.output
    assert [event for event, _ in world.told][-1] == "held"


def test_with_the_consent_a_backup_takes_its_place_and_what_it_replaces_is_kept(
    world: World,
) -> None:
    world.downgrade(LOSES)
    decided = world.decide(restore_database=True)
    assert decided.downgrades == {}
    assert decided.restores == {"main": world.before.name}
    taken = world.carry_out(decided)
    assert world.rows() == ["a", "b"]
    (kept,) = [k for k in backups.all(world.home.backups) if k.facts and k.facts.kind == "replaced"]
    assert "('since')" in "".join(content(kept.file)) or "'since'" in "".join(content(kept.file))
    world.databases.put_back(taken)
    assert world.rows() == ["a", "b", "since"]


def test_the_consent_is_not_used_where_the_data_can_stay(world: World) -> None:
    world.downgrade(DROPS)
    decided = world.decide(restore_database=True)
    assert decided.restores == {}
    assert decided.downgrades == {"main": ["two@one"]}


def test_where_the_schema_is_the_same_nothing_is_done_to_the_data(world: World) -> None:
    world.downgrade(REFUSES)
    world.ledger.record_commit(OLD, datetime.now(UTC), world.databases.schemas())
    decided = world.decide()
    assert decided == world.update
    assert world.carry_out(decided).pending == []


def test_without_a_backup_that_fits_nothing_is_offered(world: World) -> None:
    world.downgrade(LOSES)
    world.before.file.unlink()
    with pytest.raises(HeldError, match="no backup of main that belongs to that release") as raised:
        world.decide(restore_database=True)
    assert "--restore-database" not in str(raised.value)


def test_a_downgrade_that_cannot_be_tried_on_a_copy_is_not_run(world: World) -> None:
    world.downgrade(DROPS)
    world.config = parse(TOML.format(variable=""), {})
    with pytest.raises(HeldError, match="cannot be tried on a copy: no variable"):
        world.decide()


def test_of_code_that_is_told_of_the_copy_and_goes_elsewhere_nothing_is_kept(world: World) -> None:
    world.downgrade(DROPS)
    env = world.home.releases / NEW / "app" / "migrations" / "env.py"
    env.write_text(ENV.replace('os.environ["NOTES_URL"]', f'"sqlite:///{world.real}"'))
    env.write_text(env.read_text() + "# NOTES_URL\n")
    with pytest.raises(HeldError, match="does not go where NOTES_URL says"):
        world.decide()


def test_where_the_app_itself_has_changed_its_schema_a_person_is_asked(world: World) -> None:
    world.release(NEW, ["two"])  # without anything that migrates
    with pytest.raises(HeldError, match="The app itself has changed its schema") as raised:
        world.decide()
    assert "notes loses 1 of 3 rows and the column words" in raised.value.next_step
    assert world.decide(restore_database=True).restores == {"main": world.before.name}


def test_what_the_app_has_added_after_its_commit_speaks_against_nothing(world: World) -> None:
    world.release(NEW, ["two"])
    world.database.back_up(world.home.backups, update="u3", release=OLD)
    assert world.decide() == world.update


def test_a_database_that_nobody_migrates_fits_every_release(world: World) -> None:
    world.release(NEW, ["two"])
    world.config = parse(TOML.format(variable='migrate = "none"'), {})
    assert world.decide() == world.update


def test_a_backup_of_one_database_brings_no_release_back_that_another_one_does_not_fit(
    world: World,
) -> None:
    world.release(NEW, ["two"])
    world.store.switch(NEW)
    other = world.home.data / "search.db"
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE words (text)")
    text = TOML.format(variable=VARIABLE).replace("[database]", "[database.main]")
    config = parse(text + '[database.search]\nurl = "sqlite:///data/search.db"\n', {})
    both = Databases(world.home, config, world.store, lambda *_: None)
    kept = both.get("search").back_up(world.home.backups, update="u1", release=OLD)
    world.home.run.mkdir()
    requests.put(world.home, requests.Request(kind="restore", backup=kept.name, ref=OLD))
    assert Engine(world.home, config, Processes()).update() is ExitCode.REFUSED
    (event,) = History(world.home).read()
    assert f"main has been migrated since release {OLD}" in event.text


def test_a_release_of_which_nothing_is_known_is_not_taken_to_be_unfit(world: World) -> None:
    assert world.databases.moved_on("c" * 12, world.ledger, but="search") == []
    assert world.databases.moved_on(NEW, world.ledger, but="search") == []
    assert world.databases.moved_on(OLD, world.ledger, but="search") == ["main"]
