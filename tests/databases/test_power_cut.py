"""A file system whose power goes: what was not flushed is gone, what was is there.

The file system is an image that is shut down without flushing its journal, and mounted again.
"""

import ctypes
import fcntl
import os
import sqlite3
import struct
import subprocess
import time
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
    pinnable,
    processes,
    replacing,
    snapshot,
    sqlite,
)

CLONE_NEWNS = 0x00020000
EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_THE_JOURNAL = 2


class Disk:
    """An ext4 image, mounted."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "disk.img"
        self.root = folder / "disk"
        self.root.mkdir()
        with self.image.open("wb") as file:
            file.truncate(24 * 1024 * 1024)
        # A device of its own over all the cuts: one that is taken up again while it is torn down
        # from the last time gives errors.
        self.device = self._run("losetup", "--find", "--show", str(self.image)).strip()
        self._run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", self.device)
        self.mount()

    def mount(self) -> None:
        # Without the guess that a rename over a file means that its content should be flushed.
        self._run("mount", "-t", "ext4", "-o", "noauto_da_alloc", self.device, str(self.root))

    def close(self) -> None:
        self.unmount()
        self._run("losetup", "--detach", self.device)

    def unmount(self) -> None:
        deadline = time.monotonic() + support.DEADLINE_S
        while subprocess.run(
            ["umount", str(self.root)], check=False, capture_output=True
        ).returncode:
            assert time.monotonic() < deadline, "something holds the disk"
            time.sleep(0.05)

    def cut(self) -> None:
        """The power goes, and comes back."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_THE_JOURNAL))
        finally:
            os.close(descriptor)
        self.unmount()
        self.mount()

    @staticmethod
    def _run(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _see_mounts_alone() -> None:
    """Whoever copies the table of mounts while ours is in it (a container that is started, say)
    would keep the file system from being unmounted."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mounts of one's own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    try:
        _see_mounts_alone()
        made = Disk(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no ext4 image can be mounted here: {error}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def _pins_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinnable, "PAYS_FROM_BYTES", 0)
    monkeypatch.setattr(files, "shares_blocks", lambda _: False)
    monkeypatch.setattr(binding, "is_possible", lambda _: False)


class Host:
    """The verbs, as they are called by engines that come and go."""

    def __init__(self, root: Path, way: str) -> None:
        self.root = root
        self.way = way
        self.database = root / "app.db"
        self.record_file = root.parent / "record"  # the lock has its own tests

    def record(self) -> snapshot.Snapshot:
        found: snapshot.Snapshot = msgspec.json.decode(
            self.record_file.read_bytes(), type=snapshot.Snapshot
        )
        return found

    def take(self) -> None:
        taken = snapshot.take(
            "main",
            self.database,
            self.root / "snapshots",
            redirectable=self.way == "pinned",
            replaced=self.way == "copied",
        )
        assert taken.way == self.way
        self.record_file.write_bytes(msgspec.json.encode(taken))

    def prepare(self) -> None:
        snapshot.prepare(self.record())

    def migrate(self) -> None:
        """Without flushing anything: what is durable afterwards is our own doing."""
        self.prepare()
        path = Path(snapshot.migration_url(self.record()).removeprefix("sqlite:///"))

        def work() -> None:
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous=OFF")
                connection.execute("BEGIN")
                connection.execute("ALTER TABLE orders ADD COLUMN paid INTEGER DEFAULT 0")
                connection.execute("UPDATE orders SET paid = 1, text = upper(text)")
                connection.execute("COMMIT")

        assert support.runs_to_end(work)
        self.adopt()

    def adopt(self) -> None:
        snapshot.adopt(self.record())

    def restore(self) -> None:
        snapshot.restore(self.record(), self.root / "backups", update="u1")

    def release(self) -> None:
        snapshot.release(self.record())

    def power_goes(self) -> None:
        """No process survives it."""
        processes.end_marked(str(self.root / "snapshots"))
        processes.end_marked(str(self.root / "snapshots" / "main.work"), processes.GUARD)


@pytest.mark.parametrize(
    "way", ["pinned", pytest.param("pinned in place", marks=pytest.mark.slow), "copied"]
)
@pytest.mark.parametrize(
    "cut_in", ["migrate", pytest.param("restore", marks=pytest.mark.slow), "release"]
)
def test_a_power_cut_at_any_step_leaves_the_database_before_or_after_and_can_be_gone_on_from(
    disk: Disk, way: str, cut_in: str
) -> None:
    for number in range(1, 200):
        for old in disk.root.iterdir():
            if old.name != "lost+found":
                subprocess.run(["rm", "-rf", str(old)], check=True)
        if survives_a_cut(disk, Host(disk.root, way), cut_in, number):
            return
    pytest.fail("The verb never came to its end.")


def survives_a_cut(disk: Disk, host: Host, cut_in: str, number: int) -> bool:
    support.make(host.database, rows=200)
    before = support.content(host.database)
    os.sync()

    def in_an_engine(*verbs: Callable[[], object], kill_at: int = 0) -> bool:
        def engine() -> None:
            for verb in verbs[:-1]:
                verb()
            if kill_at:
                support._die_at(kill_at)
            verbs[-1]()

        return support.runs_to_end(engine)

    assert in_an_engine(host.take)
    after = ""
    if cut_in != "migrate":
        assert in_an_engine(host.migrate)
        assert support.runs_to_end(lambda: support.insert_paid(host.database))
        after = support.content(host.database)
    ended = in_an_engine(getattr(host, cut_in), kill_at=number)
    host.power_goes()
    disk.cut()

    if cut_in == "migrate":
        if ended:
            assert "paid" in support.content(host.database)
        assert in_an_engine(host.migrate)
        assert "paid" in support.content(host.database)
        assert in_an_engine(host.restore)
        assert support.content(host.database) == before
        return ended
    if ended:
        assert support.content(host.database) == (before if cut_in == "restore" else after)
    assert in_an_engine(getattr(host, cut_in))
    assert support.content(host.database) == (before if cut_in == "restore" else after)
    if cut_in == "restore":
        assert after in [support.content(k.file) for k in backups.all(host.root / "backups")]
    return ended


def test_a_backup_is_there_after_a_power_cut(disk: Disk) -> None:
    database = support.make(disk.root / "app.db", rows=500)
    os.sync()
    kept = backups.make(disk.root / "backups", database, database="main", release="v1")
    disk.cut()
    [found] = backups.all(disk.root / "backups")
    assert found == kept
    backups.verify(found)
    assert sqlite.rows_per_table(found.file)["orders"] == 500


def test_a_restored_backup_is_there_after_a_power_cut(disk: Disk) -> None:
    database = support.make(disk.root / "app.db", rows=500)
    kept = backups.make(disk.root / "backups", database, database="main", release="v1")
    before = support.content(database)
    support.migrate(database)
    os.sync()
    replacing.restore(kept, database, disk.root / "backups")
    disk.cut()
    assert support.content(database) == before
    assert len(backups.all(disk.root / "backups")) == 2
