import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.databases import support

from surefoot.databases import sqlite
from surefoot.errors import DatabaseError


def count(path: Path) -> tuple[int, int]:
    rows = sqlite.rows_per_table(path)
    return rows["orders"], rows["items"]


def test_copying_only_the_file_of_a_live_database_loses_rows_and_a_backup_does_not(
    tmp_path: Path,
) -> None:
    database = support.make(tmp_path / "app.db")
    with closing(sqlite3.connect(database)) as app:  # the app goes on having it open
        app.execute("PRAGMA wal_autocheckpoint=0")
        app.execute("INSERT INTO orders VALUES (1000, 'kept')")
        app.commit()
        shutil.copy2(database, tmp_path / "copied.db")
        sqlite.back_up(database, tmp_path / "backup.db")
    assert count(tmp_path / "copied.db")[0] == 50
    assert count(tmp_path / "backup.db")[0] == 51


@pytest.mark.parametrize("mode", ["wal", "delete"])
@pytest.mark.parametrize("rest", [0, 1])
def test_a_backup_of_a_database_that_is_written_to_is_one_moment_of_it(
    tmp_path: Path, mode: str, rest: float
) -> None:
    database = support.make(tmp_path / "app.db", mode=mode, rows=20_000)
    told = []
    with support.started(support.WRITER, database):
        before = count(database)
        sqlite.back_up(database, tmp_path / "b.db", rest=rest, progress=lambda *a: told.append(a))
        after = count(database)
        support.wait_for(lambda: count(database) > after)  # the app goes on writing
    orders, items = count(tmp_path / "b.db")
    assert orders == items
    assert before[0] <= orders <= after[0]
    assert told[-1][0] == told[-1][1]


def test_writers_do_not_wait_for_a_backup_that_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[float] = []
    monkeypatch.setattr(sqlite, "sleep", rested.append)
    database = support.make(tmp_path / "app.db", rows=60_000)

    def is_written_to(_: int, __: int) -> None:
        written = count(database)[0]
        support.wait_for(lambda: count(database)[0] > written)

    with support.started(support.WRITER, database):
        sqlite.back_up(database, tmp_path / "b.db", progress=is_written_to)
    assert rested
    assert min(rested) > 0


def test_where_somebody_writes_all_the_time_it_comes_to_its_end_all_the_same(
    tmp_path: Path,
) -> None:
    database = support.make(tmp_path / "app.db", mode="delete", rows=60_000)
    told: list[tuple[int, int]] = []

    def is_written_to(done: int, total: int) -> None:
        told.append((done, total))
        if done < total:
            support.insert(database, 1)

    sqlite.back_up(database, tmp_path / "b.db", progress=is_written_to)
    assert len(told) > sqlite.MAX_RESTARTS
    assert count(tmp_path / "b.db") == count(database)


def test_in_the_other_modes_a_writer_waits_for_one_step_only(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db", mode="delete", rows=60_000)
    told: list[int] = []

    def is_written_to(done: int, _: int) -> None:
        told.append(done)
        if len(told) == 1:
            support.insert(database, 1)

    sqlite.back_up(database, tmp_path / "b.db", progress=is_written_to)
    assert count(tmp_path / "b.db") == count(database) == (60_001, 60_001)
    assert sorted(told) != told or len(told) > len(set(told))  # it began anew


def test_a_backup_has_the_mode_of_its_source(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db")
    database.chmod(0o640)
    sqlite.back_up(database, tmp_path / "b.db")
    assert (tmp_path / "b.db").stat().st_mode & 0o777 == 0o640


def test_a_backup_leaves_nothing_else_behind(tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    sqlite.back_up(support.make(tmp_path / "app.db"), folder / "b.db")
    assert [f.name for f in folder.iterdir()] == ["b.db"]


def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db")
    target = tmp_path / "b.db"
    target.write_text("precious")
    with pytest.raises(DatabaseError, match="not overwritten"):
        sqlite.back_up(database, target)
    assert target.read_text() == "precious"


def test_a_damaged_database_is_not_backed_up(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db", mode="delete", rows=2000)
    with database.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(60_000))
    with pytest.raises(DatabaseError, match=r"damaged|malformed"):
        sqlite.back_up(database, tmp_path / "b.db")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["app.db"]


def test_a_missing_database_is_not_made_by_looking_at_it(tmp_path: Path) -> None:
    missing = tmp_path / "app.db"
    assert sqlite.schema_of(missing) == ""
    assert sqlite.rows_per_table(missing) == {}
    assert sqlite.revisions_of(missing) == []
    with pytest.raises(DatabaseError):
        sqlite.back_up(missing, tmp_path / "b.db")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_can_be_backed_up(tmp_path: Path) -> None:
    (tmp_path / "app.db").touch()
    sqlite.back_up(tmp_path / "app.db", tmp_path / "b.db")
    assert sqlite.rows_per_table(tmp_path / "b.db") == {}


def test_what_needs_the_apps_own_extensions_is_no_damage(tmp_path: Path) -> None:
    database = tmp_path / "app.db"
    with closing(sqlite3.connect(database)) as app:
        app.create_collation("app_order", lambda a, b: (a > b) - (a < b))
        app.execute("CREATE TABLE words (word TEXT COLLATE app_order)")
        app.execute("CREATE INDEX by_word ON words (word)")
        app.executemany("INSERT INTO words VALUES (?)", [("b",), ("a",)])
        app.commit()
    sqlite.back_up(database, tmp_path / "b.db")
    assert sqlite.rows_per_table(tmp_path / "b.db") == {"words": 2}


def test_the_schema_digest_tells_schemas_apart_and_not_rows(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db")
    before = sqlite.schema_of(database)
    support.insert(database, 5)
    assert sqlite.schema_of(database) == before
    digests = {before}
    with closing(sqlite3.connect(database, isolation_level=None)) as app:  # all of it in the log
        app.execute("PRAGMA wal_autocheckpoint=0")
        for statement in (
            "CREATE TABLE alembic_version (version_num VARCHAR(32))",
            "INSERT INTO alembic_version VALUES ('abc')",
            "UPDATE alembic_version SET version_num = 'abd'",
            "CREATE TABLE django_migrations (id INTEGER, app TEXT, name TEXT, applied TEXT)",
            "INSERT INTO django_migrations VALUES (1, 'shop', '0001_initial', 'now')",
            "PRAGMA user_version = 7",
            "CREATE INDEX by_text ON orders (text)",
        ):
            app.execute(statement)
            digests.add(sqlite.schema_of(database))
        assert len(digests) == 8
        app.execute("ANALYZE")
        assert sqlite.schema_of(database) in digests


def test_the_revision_is_seen_while_it_is_still_in_the_log(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db")
    with closing(sqlite3.connect(database, isolation_level=None)) as app:
        app.execute("PRAGMA wal_autocheckpoint=0")
        app.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        app.execute("INSERT INTO alembic_version VALUES ('b2'), ('a1')")
        assert sqlite.revisions_of(database) == ["a1", "b2"]


def test_who_has_the_database_open_is_named(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db", mode="delete")
    assert sqlite.holders(database) == []
    with support.started(support.HOLDER, database) as process:
        assert sqlite.holders(database) == [process.pid]
        assert sqlite.holders(database, writing=True) == [process.pid]


def test_a_child_that_has_inherited_only_the_log_holds_the_database(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db")
    wal = database.with_name("app.db-wal")
    wal.touch()
    with wal.open("rb") as file:
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(file.fileno(),)
        )
    try:
        support.wait_for(lambda: child.pid in sqlite.holders(database))
        assert child.pid not in sqlite.holders(database, writing=True)
    finally:
        child.kill()
        child.wait()


def test_a_backup_that_was_killed_is_begun_anew(tmp_path: Path) -> None:
    database = support.make(tmp_path / "app.db", rows=500)
    for number in range(1, 100):
        target = tmp_path / f"{number}.db"
        if support.runs_to_end(lambda t=target: sqlite.back_up(database, t), kill_at=number):  # type: ignore[misc]
            break
        if not target.exists():
            sqlite.back_up(database, target)
        assert count(target) == (500, 500)
    assert number > 5
