import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tests.databases import support

from surefoot.databases import backups, files, replacing, retention, sqlite
from surefoot.errors import DatabaseError


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return support.make(tmp_path / "app.db")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "backups" / "auto_update"


def make(folder: Path, database: Path, release: str = "v1.2.0", name: str = "main") -> backups.Kept:
    return backups.make(folder, database, database=name, update="u1", release=release)


def describe(kept: backups.Kept, **changes: object) -> None:
    assert kept.facts is not None
    facts = msgspec.structs.replace(kept.facts, **changes)
    kept.file.with_suffix(".json").write_bytes(msgspec.json.encode(facts))


def flip(file: Path) -> None:
    """One byte of the content, in the middle, is another one."""
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size - 100)
        byte = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte[0] ^ 1]))


def test_a_backup_is_named_by_time_and_release_and_says_what_it_is(
    folder: Path, database: Path
) -> None:
    begin = datetime.now(UTC)
    kept = make(folder, database)
    assert kept.name == f"{kept.facts.made_at:%Y%m%dT%H%M%SZ}_v1.2.0_main" if kept.facts else False
    assert kept.facts is not None
    assert begin <= kept.facts.made_at <= datetime.now(UTC)
    assert kept.facts.size_bytes == kept.file.stat().st_size
    assert kept.facts.schema_digest == sqlite.schema_of(database)
    assert len(kept.facts.sha256) == 64
    assert support.content(kept.file) == support.content(database)
    assert backups.get(folder, kept.name) == kept
    backups.verify(kept)


def test_two_backups_of_one_second_do_not_meet(folder: Path, database: Path) -> None:
    names = {make(folder, database).name for _ in range(4)}
    assert len(names) == 4
    assert {kept.name for kept in backups.all(folder)} == names


def test_a_release_whose_name_is_a_path_makes_no_folders(folder: Path, database: Path) -> None:
    kept = make(folder, database, release="../../etc/feature x")
    assert kept.file.parent == folder
    assert backups.all(folder) == [kept]


def test_the_newest_backup_comes_first(folder: Path, database: Path) -> None:
    kept = [make(folder, database) for _ in range(2)]
    describe(kept[1], made_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert [k.name for k in backups.all(folder)] == [kept[0].name, kept[1].name]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: f.with_suffix(".json").unlink(), "description is missing"),
        (lambda f: f.with_suffix(".json").write_text("{"), "cannot be read"),
        (lambda f: f.with_suffix(".json").write_bytes(b"\xff\x00"), "cannot be read"),
        (lambda f: f.with_suffix(".json").write_text("[]"), "cannot be read"),
        (lambda f: f.unlink(), "database is missing"),
        (lambda f: os.truncate(f, 4096), "4096 bytes where"),
    ],
)
def test_a_damaged_backup_is_listed_as_damaged_and_not_restored(
    folder: Path, database: Path, damage: object, says: str
) -> None:
    kept = make(folder, database)
    assert callable(damage)
    damage(kept.file)
    before = database.read_bytes()
    [found] = backups.all(folder)
    assert says in found.damage
    with pytest.raises(DatabaseError, match="damaged"):
        replacing.restore(found, database, folder)
    assert database.read_bytes() == before


def test_a_description_of_a_newer_surefoot_is_not_guessed_at(folder: Path, database: Path) -> None:
    kept = make(folder, database)
    describe(kept, schema=2)
    assert "schema 2" in backups.all(folder)[0].damage


def test_a_single_wrong_bit_is_found(folder: Path, database: Path) -> None:
    kept = make(folder, database)
    flip(kept.file)
    with pytest.raises(DatabaseError, match="not what was written"):
        backups.verify(kept)


def test_a_name_that_is_not_there_is_answered_with_those_that_are(
    folder: Path, database: Path
) -> None:
    kept = make(folder, database)
    with pytest.raises(DatabaseError, match=kept.name):
        backups.get(folder, "20200101T000000Z_v1_main")
    with pytest.raises(DatabaseError, match="none at all"):
        backups.get(folder / "nowhere", "x")


def test_the_newest_are_kept_of_each_database(folder: Path, database: Path) -> None:
    main = [make(folder, database, f"v{n}") for n in range(8, 12)]
    other = make(folder, database, "v0", name="jobs")
    removed = retention.prune(folder, 2, set())
    left = {kept.name for kept in backups.all(folder)}
    newest = [k.name for k in reversed(main)]
    assert set(removed) == set(newest[2:])
    assert left == {*newest[:2], other.name}
    assert {f.suffix for f in folder.iterdir()} == {".db", ".json"}


def test_what_is_protected_is_not_pruned(folder: Path, database: Path) -> None:
    names = [make(folder, database, f"v{9 - n}").name for n in range(4)]
    retention.prune(folder, 1, {names[0]})
    assert {kept.name for kept in backups.all(folder)} == {names[0], names[-1]}


def age(folder: Path, name: str, days: int) -> None:
    """As if it had been made so long ago."""
    file = folder / f"{name}.json"
    facts = msgspec.json.decode(file.read_bytes(), type=backups.Facts)
    facts = msgspec.structs.replace(facts, made_at=datetime.now(UTC) - timedelta(days=days))
    file.write_bytes(msgspec.json.encode(facts))


def test_what_is_too_old_goes_but_for_the_last_one(folder: Path, database: Path) -> None:
    names = [make(folder, database, f"v{9 - n}").name for n in range(3)]
    for name, days in zip(names, (40, 30, 20), strict=True):
        age(folder, name, days)
    assert retention.prune(folder, 9, set(), max_age=timedelta(days=25)) == [names[1], names[0]]
    assert retention.prune(folder, 9, set(), max_age=timedelta(days=1)) == []


def test_the_oldest_go_until_the_rest_is_small_enough(folder: Path, database: Path) -> None:
    kept = [make(folder, database, f"v{9 - n}") for n in range(4)]
    for days, one in enumerate(reversed(kept), 1):
        age(folder, one.name, days)
    other = make(folder, database, "v0", name="jobs")
    age(folder, other.name, 99)
    size_bytes = kept[0].file.stat().st_size
    removed = retention.prune(folder, 9, {kept[0].name}, max_bytes=4 * size_bytes)
    assert removed == [kept[1].name]
    assert set(retention.prune(folder, 9, set(), max_bytes=1)) == {kept[0].name, kept[2].name}
    assert {left.name for left in backups.all(folder)} == {kept[3].name, other.name}


def test_what_it_takes_to_go_back_to_a_release_is_found(folder: Path, database: Path) -> None:
    made = [make(folder, database, release) for release in ("v1", "v1", "v2", "v3")]
    for days, one in enumerate(reversed(made), 1):
        age(folder, one.name, days)
    assert retention.newest_of(folder, ["v1", "v3", "v4"]) == {made[1].name, made[3].name}


def test_a_damaged_backup_does_not_push_a_good_one_out(folder: Path, database: Path) -> None:
    names = [make(folder, database, f"v{9 - n}").name for n in range(3)]
    (folder / f"{names[2]}.json").write_text("{")
    retention.prune(folder, 1, set())
    assert {kept.name for kept in backups.all(folder)} == {names[1], names[2]}


def test_the_last_one_that_can_be_read_is_never_pruned(folder: Path, database: Path) -> None:
    names = [make(folder, database, f"v{9 - n}").name for n in range(3)]
    flip(folder / f"{names[1]}.db")
    flip(folder / f"{names[2]}.db")
    assert retention.prune(folder, 1, set()) == []
    assert {kept.name for kept in backups.all(folder)} == set(names)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_restored_backup_is_what_was_backed_up_and_what_it_replaced_is_kept(
    tmp_path: Path, folder: Path, mode: str
) -> None:
    database = support.make(tmp_path / "other.db", mode=mode)
    before = support.content(database)
    kept = make(folder, database)
    support.migrate(database)
    support.insert_paid(database)
    after = support.content(database)
    replaced = replacing.restore(kept, database, folder)
    assert support.content(database) == before
    assert replaced is not None
    assert support.content(replaced) == after
    support.insert(database, 5)  # the backup is not the database's own file now
    backups.verify(kept)
    again = backups.get(folder, replaced.stem)
    assert again.facts is not None
    assert again.facts.kind == "replaced"
    replacing.restore(again, database, None)
    assert support.content(database) == after


def test_a_backup_can_be_restored_where_there_is_no_database(
    folder: Path, database: Path, tmp_path: Path
) -> None:
    kept = make(folder, database)
    assert replacing.restore(kept, tmp_path / "new.db", folder) is None
    assert support.content(tmp_path / "new.db") == support.content(database)


def test_a_database_in_use_is_not_replaced(
    folder: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PATIENCE_S", 0.1)
    kept = make(folder, database)
    before = support.content(database)
    with (
        support.started(support.HOLDER, database) as process,
        pytest.raises(DatabaseError, match=f"in use by process {process.pid}"),
    ):
        replacing.restore(kept, database, folder)
    assert support.content(database) == before
    assert backups.all(folder) == [kept]


def test_what_an_interrupted_backup_has_left_is_swept_up(folder: Path, database: Path) -> None:
    folder.mkdir(parents=True)
    (folder / ".20200101T000000Z_v1_main.db.part").write_text("half")
    make(folder, database)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("verb", ["make", "restore", "prune"])
def test_a_kill_at_any_step_leaves_every_backup_whole_and_can_be_repeated(
    in_memory: Path, verb: str
) -> None:
    for number in range(1, 100):
        home = in_memory / str(number)
        home.mkdir()
        database = support.make(home / "app.db")
        folder = home / "backups"
        before = support.content(database)
        kept = make(folder, database)
        make(folder, database)
        support.migrate(database)
        after = support.content(database)

        def action(d: Path = database, f: Path = folder, k: backups.Kept = kept) -> object:
            if verb == "make":
                return make(f, d)
            if verb == "prune":
                return retention.prune(f, 1, set())
            return replacing.restore(k, d, f)

        ended = support.runs_to_end(action, kill_at=number)
        if verb == "restore":
            assert support.content(database) in {before, after}
        action()
        assert support.content(database) == (before if verb == "restore" else after)
        good = [k for k in backups.all(folder) if k.is_good]
        assert good
        for one in good:
            backups.verify(one)
        if verb == "restore":
            assert after in [support.content(k.file) for k in good]
        if ended:
            assert number > 2
            return
    pytest.fail("It never came to its end.")
