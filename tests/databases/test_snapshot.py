import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.databases import support

from surefoot.databases import backups, files, locks, snapshot, sqlite
from surefoot.databases.processes import MARK
from surefoot.errors import DatabaseError


def die_in_wal(path: Path) -> None:
    """An app that is killed while its last commit is only in the log."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("INSERT INTO orders VALUES (1000, 'in the log')")
    connection.execute("INSERT INTO items VALUES (1000)")
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_transaction(path: Path) -> None:
    """An app that is killed with half a transaction in the file."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size=1")
    connection.execute("BEGIN")
    connection.execute("UPDATE orders SET text = zeroblob(3000)")
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_migration(path: Path) -> None:
    """A migration that has committed one half of itself."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE half (id INTEGER)")
    die_in_transaction(path)


SLOW_MIGRATION = """
import sqlite3, sys, time
print("ready", flush=True)
time.sleep(0.05)
c = sqlite3.connect(sys.argv[1], isolation_level=None)
n = 0
while True:
    n += 1
    c.execute(f"CREATE TABLE t{n} (id INTEGER)")
"""

STATES = ["wal", "delete", "truncate", "killed_in_wal", "killed_in_transaction", "empty", "absent"]


def in_state(path: Path, state: str) -> str:
    """Makes a database as an app may leave it; returns its content."""
    if state == "absent":
        return "absent"
    if state == "empty":
        path.touch()
        return support.content(path)
    wal = state in {"wal", "killed_in_wal"}
    support.make(path, mode="wal" if wal else "delete", rows=300)
    if state == "killed_in_wal":
        support.is_killed(die_in_wal, path)
        assert path.with_name(path.name + "-wal").stat().st_size
    if state == "killed_in_transaction":
        support.is_killed(die_in_transaction, path)
        assert path.with_name(path.name + "-journal").stat().st_size
    look = path.with_name("look.db")
    for suffix in ("", "-wal", "-journal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copy(f"{path}{suffix}", f"{look}{suffix}")
    with closing(sqlite3.connect(look)) as connection:
        connection.execute("SELECT count(*) FROM orders").fetchone()
    expected = support.content(look)
    for file in (look, *sqlite.companions(look)):
        file.unlink(missing_ok=True)
    return expected


def build(path: Path) -> None:
    """A migration that works on every one of the states."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("CREATE TABLE IF NOT EXISTS items (order_id INTEGER)")
    support.migrate(path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "app.db"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots" / "u1"


@pytest.mark.parametrize("state", STATES)
def test_after_a_migration_and_new_rows_a_restore_brings_everything_back(
    database: Path, folder: Path, tmp_path: Path, state: str
) -> None:
    before = in_state(database, state)
    record = snapshot.take("main", database, folder)
    snapshot.prepare(record)
    build(database)
    snapshot.adopt(record)
    support.insert_paid(database)
    after = support.content(database)

    kept = snapshot.restore(record, tmp_path / "backups", update="u1", release="v2")

    assert support.content(database) == before
    assert kept is not None
    assert support.content(kept) == after
    [listed] = backups.all(tmp_path / "backups")
    assert listed.is_good
    assert listed.facts is not None
    assert (listed.facts.kind, listed.facts.update, listed.facts.release) == (
        "replaced",
        "u1",
        "v2",
    )


@pytest.mark.parametrize("state", STATES)
def test_after_the_commit_what_was_migrated_stays(database: Path, folder: Path, state: str) -> None:
    in_state(database, state)
    record = snapshot.take("main", database, folder)
    snapshot.prepare(record)
    build(database)
    snapshot.adopt(record)
    after = support.content(database)
    snapshot.release(record)
    snapshot.release(record)
    assert support.content(database) == after
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("state", STATES)
def test_a_migration_killed_half_way_is_undone_before_the_next_try(
    database: Path, folder: Path, state: str
) -> None:
    before = in_state(database, state)
    record = snapshot.take("main", database, folder)
    if state in {"absent", "empty"}:
        support.make(database)
    support.is_killed(die_in_migration, database)
    snapshot.prepare(record)
    assert support.content(database) == before


def test_prepare_and_restore_do_nothing_where_nothing_has_happened(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    in_state(database, "killed_in_wal")
    record = snapshot.take("main", database, folder)
    before = files.stamp(database)
    snapshot.prepare(record)
    assert snapshot.restore(record, tmp_path / "backups") is None
    assert files.stamp(database) == before
    assert not (tmp_path / "backups").exists()


def test_what_is_put_back_is_the_same_bytes(database: Path, folder: Path) -> None:
    in_state(database, "wal")
    record = snapshot.take("main", database, folder)
    before = database.read_bytes()
    support.migrate(database)
    snapshot.prepare(record)
    assert database.read_bytes() == before
    support.migrate(database)
    snapshot.restore(record, None)
    assert database.read_bytes() == before


def test_rows_that_the_old_release_writes_after_the_rollback_survive_another_restore(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    in_state(database, "wal")
    record = snapshot.take("main", database, folder)
    support.migrate(database)
    snapshot.restore(record, tmp_path / "backups")
    support.insert(database, 7)
    after = support.content(database)
    assert snapshot.restore(record, tmp_path / "backups") is None
    assert support.content(database) == after
    snapshot.release(record)
    assert support.content(database) == after
    assert database.stat().st_nlink == 1


@pytest.mark.parametrize("damage", ["missing", "short", "other"])
def test_a_restore_without_a_sound_snapshot_says_so_and_touches_nothing(
    database: Path, folder: Path, tmp_path: Path, damage: str
) -> None:
    in_state(database, "wal")
    record = snapshot.take("main", database, folder)
    assert isinstance(record, snapshot.Copied)
    support.migrate(database)
    after = support.content(database)
    if damage == "missing":
        record.copy_path.unlink()
    elif damage == "short":
        os.truncate(record.copy_path, 4096)
    else:
        record.copy_path.write_bytes(b"\0" * record.size_bytes)
    with pytest.raises(DatabaseError, match="cannot be put back; it was left as it is"):
        snapshot.restore(record, tmp_path / "backups")
    with pytest.raises(DatabaseError, match="cannot be put back; it was left as it is"):
        snapshot.prepare(record)
    assert support.content(database) == after
    assert not (tmp_path / "backups").exists()


def test_a_database_that_cannot_be_read_any_more_is_kept_as_it_lies_and_replaced(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    before = in_state(database, "wal")
    record = snapshot.take("main", database, folder)
    database.write_bytes(b"no database at all" * 1000)
    kept = snapshot.restore(record, tmp_path / "backups")
    assert support.content(database) == before
    assert kept is not None
    assert kept.read_bytes() == b"no database at all" * 1000


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_snapshot_waits_for_no_one_for_ever_and_names_who_holds_the_database(
    database: Path, folder: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.1)
    support.make(database, mode=mode)
    with (
        support.started(support.HOLDER, database) as process,
        pytest.raises(DatabaseError, match=f"in use by process {process.pid} "),
    ):
        snapshot.take("main", database, folder)
    assert isinstance(snapshot.take("main", database, folder), snapshot.Copied)


def test_a_snapshot_waits_for_who_is_about_to_end(database: Path, folder: Path) -> None:
    support.make(database)
    code = support.HOLDER.replace("sys.stdin.read()", "import time; time.sleep(0.3)")
    with support.started(code, database):
        assert isinstance(snapshot.take("main", database, folder), snapshot.Copied)


def test_nobody_can_open_the_database_while_it_is_copied(database: Path) -> None:
    for mode in ("wal", "delete"):
        database.unlink(missing_ok=True)
        support.make(database, mode=mode)
        with locks.alone(database) as is_alone:
            assert is_alone
            with (
                closing(sqlite3.connect(database, timeout=0)) as other,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                other.execute("SELECT * FROM orders").fetchone()


def test_what_is_no_database_is_not_snapshot(database: Path, folder: Path) -> None:
    database.write_text("encrypted, perhaps" * 100)
    with pytest.raises(DatabaseError, match=r"could not be copied: .*It was not changed"):
        snapshot.take("main", database, folder)
    assert database.read_text() == "encrypted, perhaps" * 100


def test_a_database_behind_a_symlink_stays_behind_it(
    tmp_path: Path, database: Path, folder: Path
) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir()
    database.symlink_to(real / "real.db")
    support.make(database)
    before = support.content(database)
    record = snapshot.take("main", database, folder)
    support.migrate(database)
    snapshot.restore(record, None)
    assert database.is_symlink()
    assert support.content(database) == before


def test_a_migration_that_a_killed_engine_left_behind_is_ended_before_the_next_try(
    database: Path, folder: Path
) -> None:
    before = in_state(database, "wal")
    record = snapshot.take("main", database, folder)
    marks = snapshot.migration_environment(record, "DATABASE_URL")
    assert marks == {"DATABASE_URL": f"sqlite:///{database}", MARK: str(folder)}
    with support.started(SLOW_MIGRATION, database, **marks) as orphan:
        snapshot.prepare(record)
        assert orphan.wait(support.DEADLINE_S) == -9
        assert support.content(database) == before


def test_a_migration_of_somebody_else_is_left_alone(database: Path, folder: Path) -> None:
    in_state(database, "wal")
    record = snapshot.take("main", database, folder)
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with support.started(code, **{MARK: f"{folder}2"}) as other:
        snapshot.prepare(record)
        assert other.poll() is None


def test_a_record_survives_the_lock_as_json(database: Path, folder: Path) -> None:
    absent = snapshot.take("main", database, folder)
    support.make(database)
    copied = snapshot.take("main", database, folder)
    for record, kind in ((absent, "absent"), (copied, "copy")):
        text = msgspec.json.encode({"main": record})
        assert msgspec.json.decode(text, type=dict[str, snapshot.Snapshot]) == {"main": record}
        assert msgspec.json.decode(text)["main"]["kind"] == kind


def test_where_the_file_system_is_another_one_the_snapshot_is_copied_back(
    database: Path, tmp_path: Path
) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(subprocess.check_output(["mktemp", "-d", "-p", memory], text=True).strip())
    try:
        before = in_state(database, "wal")
        record = snapshot.take("main", database, folder)
        support.migrate(database)
        after = support.content(database)
        kept = snapshot.restore(record, folder / "backups")
        assert kept is not None
        assert support.content(kept) == after
        assert support.content(database) == before
        support.insert(database, 3)
        now = support.content(database)
        assert snapshot.restore(record, folder / "backups") is None
        assert support.content(database) == now
    finally:
        shutil.rmtree(folder)


def test_a_database_whose_folder_was_never_made_is_put_back(tmp_path: Path, folder: Path) -> None:
    record = snapshot.take("main", tmp_path / "not" / "made" / "app.db", folder)
    snapshot.prepare(record)
    assert snapshot.restore(record, tmp_path / "backups") is None
    assert record.restored_path.exists()
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize("state", ["killed_in_wal", "killed_in_transaction", "absent"])
@pytest.mark.parametrize(
    "verb",
    [
        *("adopt", "restore"),
        *(pytest.param(verb, marks=pytest.mark.slow) for verb in ("take", "prepare", "release")),
    ],
)
def test_every_verb_can_be_repeated_after_a_kill_at_any_step(
    in_memory: Path, state: str, verb: str
) -> None:
    for number in range(1, 200):
        home = in_memory / str(number)
        home.mkdir()
        if survives_a_kill(home, state, verb, number):
            assert number > 2
            return
        shutil.rmtree(home)
    pytest.fail("The verb never came to its end.")


def survives_a_kill(home: Path, state: str, verb: str, number: int) -> bool:
    """Kills the verb at its n-th step, repeats it and goes on to the rollback; whether the verb
    had come to its end before that."""
    database, folder, kept = home / "app.db", home / "snapshots", home / "backups"
    before = in_state(database, state)

    def step(name: str, record: snapshot.Snapshot | None) -> snapshot.Snapshot | None:
        ended = False
        if name == verb:
            ended = support.runs_to_end(lambda: do(name, record), kill_at=number)
            done.append(ended)
        return do(name, record)

    def do(name: str, record: snapshot.Snapshot | None) -> snapshot.Snapshot | None:
        if name == "take":
            return snapshot.take("main", database, folder)
        assert record is not None
        if name == "restore":
            snapshot.restore(record, kept)
        else:
            getattr(snapshot, name)(record)
        return record

    done: list[bool] = []
    record = step("take", None)
    assert record is not None
    if state == "absent":
        support.make(database)
    support.is_killed(die_in_migration, database)
    step("prepare", record)
    assert support.content(database) == before
    build(database)
    step("adopt", record)
    support.insert_paid(database)
    after = support.content(database)
    if verb == "release":
        step("release", record)
        assert support.content(database) == after
        return done[-1]
    step("restore", record)
    assert support.content(database) == before
    assert after in [support.content(k.file) for k in backups.all(kept)]
    do("release", record)
    assert support.content(database) == before
    return done[-1]
