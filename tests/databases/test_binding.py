"""A migration that cannot be told where to work, as root: it opens the database's own path."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.databases import support

from surefoot.databases import binding, files, migrations, pinnable, processes, snapshot
from surefoot.errors import DatabaseError, MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterator

MIGRATE = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=1)
c.execute("BEGIN")
c.execute("ALTER TABLE orders ADD COLUMN paid INTEGER DEFAULT 0")
c.execute("UPDATE orders SET paid = 1, text = upper(text)")
c.execute("COMMIT")
"""
GOES_ON = 'print("ready", flush=True)\nsys.stdin.read()\n'


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(pinnable, "PAYS_FROM_BYTES", 0)
    monkeypatch.setattr(files, "shares_blocks", lambda _: False)
    (tmp_path / "data").mkdir()
    path = support.make(tmp_path / "data" / "app.db", rows=300)
    if not binding.is_possible(path):
        pytest.skip("only root may mount, and not everywhere")
    yield path
    processes.end_marked(str(tmp_path / "snapshots" / "main.work"), processes.GUARD)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


def taken(database: Path, folder: Path) -> snapshot.Pinned:
    record = snapshot.take("main", database, folder, switchable=True)
    assert isinstance(record, snapshot.Pinned), record.reason
    assert record.bound
    assert not record.in_place
    assert snapshot.migration_url(record) == f"sqlite:///{database}"
    snapshot.prepare(record)
    return record


def migrate(record: snapshot.Pinned, code: str = MIGRATE) -> None:
    """As the transaction does it."""
    migrations.run(
        migrations.Migration(
            "command", f"exec {sys.executable} -c '{code}' {record.database}", Path("/")
        ),
        environment=os.environ | snapshot.migration_environment(record, None),
        cwd=Path("/"),
        timeout_s=60,
        pass_fds=snapshot.pass_fds(record),
        within=snapshot.within([record]),
    )


def digest(database: Path) -> str:
    return hashlib.sha256(database.read_bytes()).hexdigest()


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_it_works_aside_and_is_taken_over_or_undone_byte_for_byte(
    database: Path, folder: Path, mode: str
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
    before, content = digest(database), support.content(database)
    record = taken(database, folder)
    assert record.way.startswith("pinned, shown at its own path")
    with pytest.raises(MigrationError):
        migrate(record, MIGRATE + "sys.exit(3)")
    assert "paid" not in support.content(database)
    snapshot.prepare(record)
    migrate(record)
    assert "paid" not in support.content(database)  # seen by nobody yet
    snapshot.adopt(record)
    assert "paid" in support.content(database)
    snapshot.restore(record, None)
    assert (digest(database), support.content(database)) == (before, content)
    snapshot.release(record)
    assert sorted(path.name for path in database.parent.iterdir()) == ["app.db"]

    record = taken(database, folder)
    migrate(record)
    snapshot.adopt(record)
    snapshot.release(record)
    assert "paid" in support.content(database)
    assert not list(folder.iterdir())


def test_killed_in_the_middle_it_is_as_before_without_any_recovery(
    database: Path, folder: Path
) -> None:
    content = support.content(database)

    def engine() -> None:
        record = taken(database, folder)
        (folder / "record").write_bytes(msgspec.json.encode(record))
        subprocess.Popen(
            [*snapshot.within([record]), sys.executable, "-c", MIGRATE + GOES_ON, str(database)],
            env=os.environ | snapshot.migration_environment(record, None),
            pass_fds=snapshot.pass_fds(record), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ).stdout.readline()  # type: ignore[union-attr] # fmt: skip
        os.kill(os.getpid(), signal.SIGKILL)

    support.is_killed(lambda _: engine(), database)
    support.wait_for(lambda: processes.holders(database) == [])  # its input has ended
    assert support.content(database) == content
    support.insert(database, 3)  # the app goes on, whatever lies in the work folder
    record = msgspec.json.decode((folder / "record").read_bytes(), type=snapshot.Snapshot)
    with pytest.raises(DatabaseError, match=r"has changed|has written"):
        snapshot.prepare(record)


def test_who_is_outside_of_it_cannot_write_meanwhile(database: Path, folder: Path) -> None:
    """A migration that has somebody else do its work is found out, and changes nothing."""
    content = support.content(database)
    record = taken(database, folder)
    outside = f"nsenter --target {os.getpid()} --mount"
    with pytest.raises(MigrationError, match="database is locked"):
        migrations.run(
            migrations.Migration(
                "command", f"{outside} {sys.executable} -c '{MIGRATE}' {database}", Path("/")
            ),
            environment=os.environ | snapshot.migration_environment(record, None),
            cwd=Path("/"), timeout_s=60,
            pass_fds=snapshot.pass_fds(record), within=snapshot.within([record]),
        )  # fmt: skip
    snapshot.restore(record, None)
    assert support.content(database) == content
    snapshot.release(record)


@pytest.mark.parametrize("is_able", [True, False])
def test_root_in_a_container_may_mostly_not_mount(database: Path, is_able: bool) -> None:
    code = (
        "import pathlib, sys; from surefoot.databases import binding;"
        "print(binding.is_possible(pathlib.Path(sys.argv[1])))"
    )
    without = [] if is_able else ["setpriv", "--bounding-set", "-sys_admin"]
    command = [*without, sys.executable, "-c", code, str(database)]
    assert subprocess.check_output(command, text=True).strip() == str(is_able)


def test_where_it_cannot_be_done_the_database_is_pinned_in_place(
    database: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    record = snapshot.take("main", database, folder)
    assert isinstance(record, snapshot.Pinned)
    assert record.in_place
    assert "not seen to go where it is told" in record.reason
    snapshot.restore(record, None)
    snapshot.release(record)
