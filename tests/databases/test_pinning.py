"""Each verb runs in a process of its own where "another engine" is meant: this process's
descriptors would keep the locks alive."""

import fcntl
import hashlib
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.databases import support

from surefoot.databases import (
    backups,
    binding,
    files,
    journal_mode,
    locks,
    migrations,
    pinnable,
    pinning,
    processes,
    settling,
    snapshot,
    sqlite,
)
from surefoot.errors import DatabaseError, MigrationError

# Everything that brings a log into the main file, and the end of a last connection.
CHECKPOINTS = """
import sqlite3, sys
for statement in (
    "PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(FULL)",
    "PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)",
    "VACUUM", "PRAGMA journal_mode=DELETE", "PRAGMA page_size=8192", "VACUUM",
    "INSERT INTO orders (text) VALUES (zeroblob(5000000))",
):
    c = sqlite3.connect(sys.argv[1], timeout=0.1, isolation_level=None)
    try:
        c.execute(statement)
    except sqlite3.OperationalError as error:
        assert "locked" in str(error), error
    c.close()
"""
MIGRATE = """
import os, sqlite3, time
path = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
c = sqlite3.connect(path, isolation_level=None)
c.execute("BEGIN")
c.execute("ALTER TABLE orders ADD COLUMN paid INTEGER DEFAULT 0")
c.execute("UPDATE orders SET paid = 1, text = upper(text)")
c.execute("COMMIT")
"""


@pytest.fixture(autouse=True)
def _pins_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the database is, and whatever the file system could do instead."""
    monkeypatch.setattr(pinnable, "PAYS_FROM_BYTES", 0)
    monkeypatch.setattr(files, "shares_blocks", lambda _: False)
    monkeypatch.setattr(binding, "is_possible", lambda _: False)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return support.make(tmp_path / "data" / "app.db", rows=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots" / "u1"


@pytest.fixture(autouse=True)
def _no_guard_stays(tmp_path: Path, in_memory: Path) -> Iterator[None]:
    yield
    for key in list(pinning._held):
        for held in pinning._held.pop(key):
            if held is not None:
                held.close()
    for folder in [*tmp_path.glob("snapshots/u1"), *in_memory.glob("*/snapshots")]:
        processes.end_marked(str(folder / "main.work"), processes.GUARD)


def pin(database: Path, folder: Path) -> snapshot.Pinned:
    record = snapshot.take("main", database, folder, redirectable=True)
    assert isinstance(record, snapshot.Pinned), record.reason
    return record


def migrate(record: snapshot.Snapshot, code: str = MIGRATE) -> None:
    """As the transaction does it: a real process that is told the URL and inherits the locks."""
    migrations.run(
        migrations.Migration("command", f"exec {sys.executable} -c '{code}'", Path("/")),
        environment=snapshot.migration_environment(record, "DATABASE_URL"),
        cwd=Path("/"),
        timeout_s=60,
        pass_fds=snapshot.pass_fds(record),
    )


def digest(database: Path) -> str:
    return hashlib.sha256(database.read_bytes()).hexdigest()


def elsewhere(action: Callable[[], object]) -> None:
    assert support.runs_to_end(action)


def test_a_large_database_in_wal_mode_is_pinned(database: Path, folder: Path) -> None:
    record = pin(database, folder)
    assert snapshot.migration_url(record) == f"sqlite:///{folder}/main.work/app.db"
    assert record.work_path.samefile(database)
    assert len(snapshot.pass_fds(record)) == 4
    text = msgspec.json.encode(record)
    assert msgspec.json.decode(text, type=snapshot.Snapshot) == record


def test_the_migration_is_seen_by_nobody_until_it_is_adopted(database: Path, folder: Path) -> None:
    before = support.content(database)
    record = pin(database, folder)
    main = digest(database)
    snapshot.prepare(record)
    migrate(record)
    elsewhere(lambda: seen(database, before))
    snapshot.adopt(record)
    assert digest(database) == main
    elsewhere(lambda: seen(database, before, same=False))
    snapshot.release(record)
    assert list(folder.iterdir()) == []
    assert database.stat().st_nlink == 1
    assert "paid" in support.content(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as app:
        assert app.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert digest(database) != main


def seen(database: Path, content: str, *, same: bool = True) -> None:
    assert (support.content(database) == content) is same


def test_while_it_is_pinned_nobody_can_write_to_the_database_itself(
    database: Path, folder: Path
) -> None:
    pin(database, folder)

    def write() -> None:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            support.insert_paid_not(database)

    elsewhere(write)


@pytest.mark.parametrize("adopted", [False, True])
def test_nothing_that_a_process_does_through_sqlite_changes_the_main_file(
    database: Path, folder: Path, adopted: bool
) -> None:
    before = support.content(database)
    record = pin(database, folder)
    main = digest(database)
    migrate(record)
    if adopted:
        snapshot.adopt(record)
    where = database if adopted else record.work_path
    with support.started(CHECKPOINTS + "\nprint('ready', flush=True)", where):
        pass
    assert digest(database) == main
    snapshot.restore(record, None)
    assert digest(database) == main
    assert support.content(database) == before


def test_the_locks_live_as_long_as_the_migration_that_inherited_them(
    database: Path, folder: Path
) -> None:
    """The engine is killed in the middle of a migration that goes on and checkpoints."""
    main = digest(database)
    ready = folder.parent / "ready"

    def engine() -> None:
        record = pin(database, folder)
        go_on = f"open({str(ready)!r}, 'w').close(); import time; time.sleep(60)"
        pid = os.fork()
        if pid == 0:
            url = snapshot.migration_environment(record, "DATABASE_URL")
            for fd in snapshot.pass_fds(record):
                os.set_inheritable(fd, True)
            code = MIGRATE + 'c.execute("PRAGMA wal_checkpoint(TRUNCATE)")\n' + go_on
            os.execve(sys.executable, [sys.executable, "-c", code], url)  # noqa: S606
        support.wait_for(ready.exists)
        os.kill(os.getpid(), signal.SIGKILL)

    assert not support.runs_to_end(engine)
    left = [pid for pid in sqlite.holders(database) if pid != os.getpid()]
    assert len(left) == 1
    with support.started(CHECKPOINTS + "\nprint('ready', flush=True)", folder / "main.work/app.db"):
        pass
    assert digest(database) == main
    snapshot.take("main", database, folder, redirectable=True)
    assert sqlite.holders(database) == [os.getpid()]
    assert digest(database) == main


def test_after_the_adoption_the_locks_outlive_the_engine(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    before, main = support.content(database), digest(database)
    record_file = tmp_path / "record"

    def engine() -> None:
        record = pin(database, folder)
        migrate(record)
        snapshot.adopt(record)
        record_file.write_bytes(msgspec.json.encode(record))
        os.kill(os.getpid(), signal.SIGKILL)

    assert not support.runs_to_end(engine)
    record = msgspec.json.decode(record_file.read_bytes(), type=snapshot.Snapshot)
    with support.started(CHECKPOINTS + "\nprint('ready', flush=True)", database):
        pass
    after = support.content(database)
    assert digest(database) == main

    kept = snapshot.restore(record, tmp_path / "backups", update="u1")
    assert digest(database) == main
    assert support.content(database) == before
    assert kept is not None
    assert support.content(kept) == after
    assert processes.holders(database) == []


@pytest.mark.parametrize("migrates", [True, False], ids=["migrated", "not migrated"])
def test_after_a_power_cut_the_app_that_is_started_again_can_still_be_undone(
    database: Path, folder: Path, *, migrates: bool
) -> None:
    """The guard is lost with the power, and the app brings its log in when it closes."""
    before = support.content(database)

    def engine() -> None:
        record = pin(database, folder)
        snapshot.prepare(record)
        if migrates:
            migrate(record)
        snapshot.adopt(record)
        (folder / "record").write_bytes(msgspec.json.encode(record))

    elsewhere(engine)
    processes.end_marked(str(folder / "main.work"), processes.GUARD)
    record = msgspec.json.decode((folder / "record").read_bytes(), type=snapshot.Snapshot)
    elsewhere(lambda: snapshot.keep(record))
    with support.started(CHECKPOINTS + "\nprint('ready', flush=True)", database):
        pass
    assert support.content(database) != before
    elsewhere(lambda: snapshot.restore(record, None))
    assert support.content(database) == before


def test_a_guard_that_was_told_to_end_by_a_signal_stays(database: Path, folder: Path) -> None:
    record = pin(database, folder)
    snapshot.adopt(record)
    [guard] = [pid for pid in sqlite.holders(database) if pid != os.getpid()]
    support.wait_for(lambda: Path(f"/proc/{guard}/comm").read_text() == "sleep\n")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(guard, number)
    assert guard in sqlite.holders(database)
    snapshot.release(record)
    assert sqlite.holders(database) == []


def test_rows_of_the_probation_are_kept_and_a_migration_alone_is_not(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    before = support.content(database)
    record = pin(database, folder)
    migrate(record)
    snapshot.adopt(record)
    assert snapshot.restore(record, tmp_path / "backups") is None
    assert support.content(database) == before
    snapshot.release(record)

    record = pin(database, folder)
    migrate(record)
    snapshot.adopt(record)
    elsewhere(lambda: support.insert_paid(database))
    after = support.content(database)
    kept = snapshot.restore(record, tmp_path / "backups")
    assert kept is not None
    assert support.content(kept) == after
    assert support.content(database) == before


def test_rows_that_the_old_release_writes_after_the_rollback_survive_another_restore(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    record = pin(database, folder)
    migrate(record)
    snapshot.restore(record, tmp_path / "backups")
    elsewhere(lambda: support.insert(database, 7))
    after = support.content(database)
    assert snapshot.restore(record, tmp_path / "backups") is None
    assert support.content(database) == after
    snapshot.release(record)
    assert support.content(database) == after


def test_a_failed_migration_is_repeated_from_the_same_bytes(database: Path, folder: Path) -> None:
    before, main = support.content(database), digest(database)
    record = pin(database, folder)
    for _ in range(2):
        snapshot.prepare(record)
        assert not files.has_log(record.work_path)
        with pytest.raises(MigrationError, match="gone wrong"):
            migrate(record, MIGRATE + 'raise Exception("gone wrong")')
        assert files.has_log(record.work_path)
    snapshot.prepare(record)
    migrate(record)
    snapshot.adopt(record)
    assert "paid" in support.content(database)
    snapshot.prepare(record)  # as after a crash before the adoption could be noted
    assert digest(database) == main
    elsewhere(lambda: seen(database, before))
    assert not files.has_log(record.work_path)


def test_prepare_does_nothing_where_nothing_has_happened(database: Path, folder: Path) -> None:
    record = pin(database, folder)
    before = sorted((f.name, f.stat().st_ino) for f in record.work_path.parent.iterdir())
    snapshot.prepare(record)
    assert sorted((f.name, f.stat().st_ino) for f in record.work_path.parent.iterdir()) == before


def test_a_migration_that_writes_nothing_can_be_adopted(database: Path, folder: Path) -> None:
    before = support.content(database)
    record = pin(database, folder)
    migrate(record, "pass")
    snapshot.adopt(record)
    elsewhere(lambda: support.insert(database, 1))
    snapshot.restore(record, None)
    assert support.content(database) == before


@pytest.mark.parametrize("damage", ["written", "replaced", "removed", "released"])
def test_a_pin_that_does_not_hold_any_more_says_so_and_touches_nothing(
    database: Path, folder: Path, damage: str
) -> None:
    record = pin(database, folder)
    migrate(record)
    snapshot.adopt(record)
    if damage == "written":
        with database.open("r+b") as file:
            file.seek(5000)
            file.write(b"x")
    elif damage == "replaced":
        shutil.copy(database, database.with_name("new"))
        database.with_name("new").replace(database)
    elif damage == "removed":
        database.unlink()
    else:
        snapshot.release(record)
    beside = {f.name: f.stat().st_ino for f in database.parent.iterdir()}
    for verb in (snapshot.prepare, snapshot.adopt, lambda r: snapshot.restore(r, folder)):
        with pytest.raises(DatabaseError, match="cannot be put back; it was left as it is"):
            verb(record)
    assert {f.name: f.stat().st_ino for f in database.parent.iterdir()} == beside


def test_a_stranger_who_wrote_during_the_update_is_noticed_and_his_rows_are_kept(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    before = support.content(database)
    records = []

    def engine() -> None:
        (tmp_path / "record").write_bytes(msgspec.json.encode(pin(database, folder)))

    elsewhere(engine)
    record = msgspec.json.decode((tmp_path / "record").read_bytes(), type=snapshot.Snapshot)
    records.append(record)
    with closing(sqlite3.connect(database, isolation_level=None)) as stranger:
        stranger.execute("INSERT INTO orders (text) VALUES ('strange')")
        log = database.with_name("app.db-wal").read_bytes()
        after = [row[0] for row in stranger.execute("SELECT text FROM orders")]
        main = database.read_bytes()
    # Its last connection has closed and brought the log in: play back a stranger that was killed.
    changed = database.stat()
    with database.open("r+b") as file:
        file.write(main)
    os.utime(database, ns=(changed.st_atime_ns, record.stamp.modified_ns))
    database.with_name("app.db-wal").write_bytes(log)
    with pytest.raises(DatabaseError, match="Somebody has written"):
        snapshot.prepare(record)
    kept = snapshot.restore(record, tmp_path / "backups")
    assert kept is not None
    assert len(after) == sqlite.rows_per_table(kept)["orders"]
    assert support.content(database) == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _d, _f: setattr(pinnable, "PAYS_FROM_BYTES", 10**9), "small"),
        (lambda d, _f: sqlite3.connect(d).execute("PRAGMA journal_mode=DELETE"), "mode itself"),
        (lambda d, _f: d.with_name("other.db").hardlink_to(d), "several names"),
        (lambda _d, _f: setattr(pinnable, "FILE_SYSTEMS", frozenset()), "file system is"),
        (lambda _d, _f: setattr(files, "shares_blocks", lambda _: True), "sharing blocks"),
    ],
)
def test_where_a_pin_does_not_serve_the_database_is_copied_and_the_reason_is_noted(
    database: Path,
    folder: Path,
    change: Callable[[Path, Path], object],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module, name in (
        (pinnable, "PAYS_FROM_BYTES"),
        (pinnable, "FILE_SYSTEMS"),
        (files, "shares_blocks"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back afterwards
    change(database, folder)
    record = snapshot.take("main", database, folder, redirectable=True)
    assert isinstance(record, snapshot.Copied)
    assert why in record.reason
    assert database.with_name("app.db").stat().st_nlink == (2 if why == "several names" else 1)


def test_a_database_that_a_backup_replaces_is_copied(database: Path, folder: Path) -> None:
    record = snapshot.take("main", database, folder, redirectable=True, replaced=True)
    assert isinstance(record, snapshot.Copied)
    assert record.reason == "a backup takes its place"


def test_a_migration_that_was_not_seen_to_obey_works_in_place_and_the_main_file_stays(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    before = digest(database)
    record = snapshot.take("main", database, folder)
    assert isinstance(record, snapshot.Pinned)
    assert "not seen to go where it is told" in record.reason
    assert snapshot.migration_url(record) == f"sqlite:///{database}"
    snapshot.prepare(record)
    with pytest.raises(MigrationError):
        migrate(record, MIGRATE + "os._exit(3)")
    assert "PAID" not in support.content(database)
    assert "paid" in support.content(database)
    snapshot.prepare(record)
    assert "paid" not in support.content(database)
    migrate(record)
    migrations.run(
        migrations.Migration("command", f"exec {sys.executable} -c '{CHECKPOINTS}' {database}",
                             Path("/")),
        environment=dict(os.environ), cwd=Path("/"), timeout_s=60,
        pass_fds=snapshot.pass_fds(record),
    )  # fmt: skip
    assert digest(database) == before
    snapshot.adopt(record)
    assert digest(database) == before
    support.insert_paid(database)
    kept = snapshot.restore(record, tmp_path / "backups")
    assert kept is not None  # what the new release has written
    assert digest(database) == before
    snapshot.release(record)
    support.migrate_again(database)


def test_half_a_migration_in_place_is_not_kept_when_it_is_undone(
    database: Path, folder: Path, tmp_path: Path
) -> None:
    before = digest(database)
    record = snapshot.take("main", database, folder)
    snapshot.prepare(record)
    with pytest.raises(MigrationError):
        migrate(record, MIGRATE + "os._exit(3)")
    assert snapshot.restore(record, tmp_path / "backups") is None
    assert digest(database) == before
    assert not list(tmp_path.glob("backups/*"))


@pytest.fixture
def other_mode(tmp_path: Path) -> Path:
    """A database with a rollback journal."""
    (tmp_path / "other").mkdir()
    return support.make(tmp_path / "other" / "app.db", mode="delete", rows=300)


@pytest.mark.parametrize("redirectable", [True, False])
def test_a_database_in_another_mode_is_pinned_and_put_back_byte_for_byte(
    other_mode: Path, folder: Path, redirectable: bool
) -> None:
    before = digest(other_mode)
    record = snapshot.take("main", other_mode, folder, redirectable=redirectable, switchable=True)
    assert isinstance(record, snapshot.Pinned), record.reason
    assert record.way.endswith("in WAL mode meanwhile")
    assert digest(other_mode) != before
    snapshot.prepare(record)
    migrate(record)
    snapshot.adopt(record)
    support.insert_paid(other_mode)
    snapshot.restore(record, None)
    assert digest(other_mode) == before
    assert not journal_mode.note(other_mode).exists()
    assert snapshot.restore(record, None) is None
    assert digest(other_mode) == before
    snapshot.release(record)
    assert digest(other_mode) == before


def test_after_the_commit_it_has_its_own_mode_again(other_mode: Path, folder: Path) -> None:
    record = snapshot.take("main", other_mode, folder, redirectable=True, switchable=True)
    snapshot.prepare(record)
    migrate(record)
    snapshot.adopt(record)
    support.insert_paid(other_mode)
    after = support.content(other_mode)
    snapshot.release(record)
    support.wait_for(lambda: not journal_mode.note(other_mode).exists())
    assert support.content(other_mode) == after.replace("wal", "delete", 1)
    support.wait_for(lambda: processes.holders(other_mode) == [])
    assert not any(file.exists() for file in sqlite.companions(other_mode))


def test_an_app_that_keeps_it_open_keeps_it_switched_until_the_next_stop(
    other_mode: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "PATIENCE_S", 0)
    record = snapshot.take("main", other_mode, folder, redirectable=True, switchable=True)
    snapshot.prepare(record)
    migrate(record)
    snapshot.adopt(record)
    with support.started(support.HOLDER, other_mode):
        snapshot.release(record)
        settling.settle(other_mode, str(folder / "main.work"))
        assert journal_mode.note(other_mode).exists()
        assert journal_mode.is_log(files.header(other_mode))
        settling.end(other_mode)
    again = snapshot.take("main", other_mode, folder.with_name("u2"), replaced=True)
    assert isinstance(again, snapshot.Copied)
    assert not journal_mode.note(other_mode).exists()
    assert journal_mode.is_switchable(files.header(other_mode))


def test_a_switch_that_was_interrupted_is_undone_by_the_next_engine(
    other_mode: Path, folder: Path
) -> None:
    before = support.content(other_mode)
    support.runs_to_end(lambda: journal_mode.switch(other_mode))
    assert support.content(other_mode) != before
    record = snapshot.take("main", other_mode, folder)
    assert isinstance(record, snapshot.Copied)
    assert "may set the mode itself" in record.reason
    assert support.content(other_mode) == before


def test_a_long_log_is_brought_in_behind_the_back_of_the_update_and_of_the_app(
    database: Path, folder: Path
) -> None:
    record = pin(database, folder)
    snapshot.prepare(record)
    migrate(record, MIGRATE + 'c.execute("INSERT INTO orders (text) VALUES (zeroblob(9000000))")')
    snapshot.adopt(record)
    log = database.with_name("app.db-wal")
    assert log.stat().st_size > settling.LONG_BYTES
    support.insert_paid(database)
    before = digest(database)
    index = os.open(database.with_name("app.db-shm"), os.O_RDWR)
    try:  # somebody has begun a checkpoint, and does not come to its end
        assert locks.lock(index, locks.CHECKPOINT_BYTE, 1, fcntl.F_WRLCK)
        snapshot.release(record)
        support.insert_paid(database)
        assert digest(database) == before
    finally:
        os.close(index)
    support.wait_for(lambda: not log.exists() or log.stat().st_size == 0)
    assert digest(database) != before
    support.wait_for(lambda: processes.holders(database) == [])
    elsewhere(lambda: support.migrate_again(database))


def test_who_holds_the_database_is_named_and_nothing_is_changed(
    database: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.1)
    with (
        support.started(support.HOLDER, database) as process,
        pytest.raises(DatabaseError, match=f"process {process.pid} "),
    ):
        snapshot.take("main", database, folder, redirectable=True)
    assert database.stat().st_nlink == 1


@pytest.mark.parametrize(
    ("verb", "again"),
    [
        *((verb, "verb") for verb in ("adopt", "restore")),
        *(
            pytest.param(verb, "verb", marks=pytest.mark.slow)
            for verb in ("take", "prepare", "release")
        ),
        *(pytest.param(verb, "step", marks=pytest.mark.slow) for verb in ("prepare", "adopt")),
    ],
)
def test_every_verb_can_be_repeated_after_a_kill_at_any_step(
    in_memory: Path, verb: str, again: str
) -> None:
    """The next engine repeats the verb, or the transaction's step: prepare, migrate, adopt."""
    _is_killed_at(range(1, 200), in_memory, verb, again, "wal", linked=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "mode", "linked"),
    [
        ("take", "delete", True), ("restore", "delete", True), ("release", "delete", True),
        ("prepare", "wal", False), ("adopt", "wal", False), ("restore", "wal", False),
    ],
)  # fmt: skip
def test_so_it_can_in_place_and_in_the_other_mode(
    in_memory: Path, verb: str, mode: str, linked: bool
) -> None:
    _is_killed_at(range(2, 200, 4), in_memory, verb, "verb", mode, linked=linked)


def _is_killed_at(
    numbers: range, in_memory: Path, verb: str, again: str, mode: str, *, linked: bool
) -> None:
    for number in numbers:
        home = in_memory / str(number)
        (home / "data").mkdir(parents=True)
        if survives_a_kill(home, verb, number, again, mode, linked=linked):
            assert number > 2
            return
    pytest.fail("The verb never came to its end.")


def survives_a_kill(
    home: Path, verb: str, number: int, again: str, mode: str, *, linked: bool
) -> bool:
    database = support.make(home / "data" / "app.db", rows=20, mode=mode)
    before = support.content(database)
    record_file, after_file = home / "record", home / "after"

    def do(name: str) -> None:
        if name == "take":
            record = snapshot.take(
                "main", database, home / "snapshots", redirectable=linked, switchable=True
            )
            assert isinstance(record, snapshot.Pinned), record.reason
            record_file.write_bytes(msgspec.json.encode(record))
            return
        record = msgspec.json.decode(record_file.read_bytes(), type=snapshot.Snapshot)
        if name == "restore":
            snapshot.restore(record, home / "backups", update="u1")
        elif name == "half":
            elsewhere(lambda: half_a_migration(record))
        elif name == "migrate":
            elsewhere(lambda: support.migrate(working(record)))
        elif name == "insert":
            support.insert_paid(database)
            after_file.write_text(support.content(database))
        else:
            getattr(snapshot, name)(record)

    def engine(names: list[str], kill_at: int) -> None:
        for name in names[:-1]:
            do(name)
        if kill_at:
            support._die_at(kill_at)
        do(names[-1])

    end = "release" if verb == "release" else "restore"
    engines = [["take"], ["prepare", "half"], ["prepare", "migrate", "adopt"], ["insert"], [end]]
    ended = True
    for position, names in enumerate(engines):
        if verb not in names:
            elsewhere(lambda n=names: engine(n, 0))  # type: ignore[misc]
            continue
        until = names.index(verb) + 1
        ended = support.runs_to_end(lambda n=names[:until]: engine(n, number))  # type: ignore[misc]
        rest = names if again == "step" else names[until - 1 :]
        elsewhere(lambda n=rest: engine(n, 0))  # type: ignore[misc]
        if verb == "prepare" and position == 1:
            verb = ""  # the second one is like the first one
    verb = end
    support.wait_for(lambda: not journal_mode.note(database).exists())
    now = support.content(database)
    if verb == "release":
        assert now == after_file.read_text().replace("wal", mode, 1)
    else:
        assert now == before
        assert after_file.read_text() in [
            support.content(k.file) for k in backups.all(home / "backups")
        ]
        elsewhere(lambda: do("release"))
        assert support.content(database) == before
    elsewhere(lambda: support.migrate_again(database))
    assert processes.holders(database) == []
    assert database.stat().st_nlink == 1
    assert not list((home / "snapshots").glob("main*"))
    return ended


def half_a_migration(record: snapshot.Snapshot) -> None:
    with closing(sqlite3.connect(working(record))) as connection:
        connection.execute("CREATE TABLE half (id INTEGER)")


def working(record: snapshot.Snapshot) -> Path:
    return Path(snapshot.migration_url(record).removeprefix("sqlite:///"))
