import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from surefoot.databases import comparison, sqlite
from surefoot.errors import DatabaseError

SCHEMA = """
    PRAGMA journal_mode=WAL;
    CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT, pinned INTEGER);
    CREATE TABLE links (note INTEGER, other INTEGER);
    CREATE TABLE alembic_version (version_num TEXT);
    INSERT INTO notes (text, pinned) VALUES ('one', 0), ('two', 1), ('three', 0);
    INSERT INTO links VALUES (1, 2), (2, 3);
    INSERT INTO alembic_version VALUES ('a'), ('b');
"""


def after(tmp_path: Path, migration: str, *, also: str = "") -> list[comparison.Change]:
    """What is said of a migration; the database is open all the while, as an app has it."""
    tmp_path.mkdir(exist_ok=True)
    live, before, migrated = (tmp_path / name for name in ("live.db", "before.db", "after.db"))
    with closing(sqlite3.connect(live, isolation_level=None)) as connection:
        connection.executescript(SCHEMA + also)
        for copy in (before, migrated):
            sqlite.back_up(live, copy)
    with closing(sqlite3.connect(migrated, isolation_level=None)) as connection:
        connection.executescript(migration)
        return comparison.compare(before, migrated)


def losses(tmp_path: Path, migration: str, *, also: str = "") -> list[str]:
    changes = after(tmp_path, migration, also=also)
    return [comparison.in_words(change) for change in changes if change.is_loss]


@pytest.mark.parametrize(
    ("migration", "said"),
    [
        ("DELETE FROM links", ["links loses 2 of 2 rows"]),
        ("DELETE FROM notes WHERE id = 2", ["notes loses 1 of 3 rows"]),
        ("DROP TABLE links", ["the table links with 2 rows is gone"]),
        ("ALTER TABLE notes DROP COLUMN pinned", ["notes loses the column pinned"]),
        (
            "ALTER TABLE notes DROP COLUMN pinned; ALTER TABLE notes DROP COLUMN text;"
            "DELETE FROM notes WHERE id > 1; DROP TABLE links",
            ["the table links with 2 rows is gone",
             "notes loses 2 of 3 rows and the columns text and pinned"],
        ),
    ],
)  # fmt: skip
def test_what_is_lost_is_named(tmp_path: Path, migration: str, said: list[str]) -> None:
    assert losses(tmp_path, migration) == said


@pytest.mark.parametrize(
    "migration",
    [
        "SELECT 1",
        "INSERT INTO links VALUES (7, 7)",
        "ALTER TABLE notes ADD COLUMN words INTEGER DEFAULT 0",
        "CREATE TABLE tags (id INTEGER PRIMARY KEY)",
        "DELETE FROM alembic_version WHERE version_num = 'a'",
        "ALTER TABLE links RENAME TO references_",
        "ALTER TABLE links RENAME TO references_; ALTER TABLE references_ ADD COLUMN kind TEXT",
        "ALTER TABLE notes RENAME COLUMN text TO body",
        "ALTER TABLE links RENAME COLUMN other TO target",
        # As Alembic's batch mode does it.
        "CREATE TABLE _alembic_tmp_notes (id INTEGER PRIMARY KEY, pinned INTEGER, text TEXT);"
        "INSERT INTO _alembic_tmp_notes SELECT id, pinned, text FROM notes;"
        "DROP TABLE notes; ALTER TABLE _alembic_tmp_notes RENAME TO notes",
    ],
)
def test_what_is_still_there_somewhere_is_not_lost(tmp_path: Path, migration: str) -> None:
    assert losses(tmp_path, migration) == []


@pytest.mark.parametrize(
    ("migration", "said"),
    [
        (
            "DROP TABLE links; CREATE TABLE edges (note, other); INSERT INTO edges VALUES (1, 2)",
            "the table links with 2 rows is gone",
        ),
        (
            "DROP TABLE links; CREATE TABLE edges (note, other);"
            "INSERT INTO edges VALUES (1, 2), (2, 4)",
            "the table links with 2 rows is gone",
        ),
        (  # the same values, but of other rows
            "ALTER TABLE notes DROP COLUMN pinned; ALTER TABLE notes ADD COLUMN done INTEGER;"
            "UPDATE notes SET done = (id = 3)",
            "notes loses the column pinned",
        ),
    ],
)
def test_something_new_of_the_same_shape_is_no_substitute(
    tmp_path: Path, migration: str, said: str
) -> None:
    assert losses(tmp_path, migration) == [said]


def test_an_index_of_sqlites_own_may_be_made_anew(tmp_path: Path) -> None:
    made = "CREATE VIRTUAL TABLE found USING fts5(text); INSERT INTO found VALUES ('a'), ('b');"
    for number in range(50):
        made += f"INSERT INTO found VALUES ('word{number}');"
    assert losses(tmp_path, "INSERT INTO found(found) VALUES ('optimize')", also=made) == []
    folder = tmp_path / "again"
    folder.mkdir()
    assert losses(folder, "DELETE FROM found WHERE text = 'a'", also=made) == [
        "found loses 1 of 52 rows"
    ]


def test_every_change_is_listed_for_people(tmp_path: Path) -> None:
    changes = after(
        tmp_path,
        "DROP TABLE links; ALTER TABLE notes DROP COLUMN pinned; CREATE TABLE tags (id INTEGER);"
        "INSERT INTO tags VALUES (1)",
    )
    assert comparison.listed(changes).splitlines() == [
        "table  rows before  rows after  gone",
        "links            2           -  the table",
        "notes            3           3  pinned",
        "tags             -           1",
    ]


def test_what_stays_as_it_is_is_told_after_what_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = after(
        tmp_path, "DELETE FROM notes WHERE id = 2; CREATE TABLE a (id); ALTER TABLE links ADD x"
    )
    assert [(c.table, c.rows_before, c.rows_after) for c in changes] == [
        ("notes", 3, 2), ("a", None, 0), ("links", 2, 2)
    ]  # fmt: skip
    assert [change.is_none for change in changes] == [False, False, True]
    monkeypatch.setattr(comparison, "UNCHANGED", 0)
    assert [change.table for change in after(tmp_path / "again", "SELECT 1")] == []


def test_names_of_any_kind_are_only_names(tmp_path: Path) -> None:
    odd = 'CREATE TABLE "a ""b" ("c; d" TEXT, "e\'" TEXT); INSERT INTO "a ""b" VALUES (1, 2);'
    assert losses(tmp_path, 'ALTER TABLE "a ""b" DROP COLUMN "e\'"', also=odd) == [
        "a \"b loses the column e'"
    ]


def test_a_database_that_was_not_there_has_lost_nothing(tmp_path: Path) -> None:
    assert comparison.compare(tmp_path / "none.db", tmp_path / "after.db") == []


def test_the_backup_that_is_compared_with_is_left_as_it_is(tmp_path: Path) -> None:
    after(tmp_path, "DELETE FROM links")
    assert sorted(file.name for file in tmp_path.glob("before.db*")) == ["before.db"]


def test_what_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "before.db").write_bytes(b"x" * 4096)
    (tmp_path / "after.db").write_bytes(b"x" * 4096)
    with pytest.raises(DatabaseError, match="cannot be compared"):
        comparison.compare(tmp_path / "before.db", tmp_path / "after.db")
