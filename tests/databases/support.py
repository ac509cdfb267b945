"""Real databases, real processes, and a way to be killed at every step."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
import warnings
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEADLINE_S = 30

WRITER = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
n = c.execute("SELECT coalesce(max(id), 0) FROM orders").fetchone()[0]
print("ready", flush=True)
while True:
    n += 1
    c.execute("BEGIN IMMEDIATE")
    c.execute("INSERT INTO orders VALUES (?, ?)", (n, "x" * 200))
    c.execute("INSERT INTO items VALUES (?)", (n,))
    c.execute("COMMIT")
    time.sleep(0.0005)
"""

HOLDER = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("SELECT * FROM orders").fetchone()
print("ready", flush=True)
sys.stdin.read()
"""


def make(path: Path, *, mode: str = "wal", rows: int = 50) -> Path:
    """A database of orders and items, always as many of the ones as of the others."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("CREATE TABLE items (order_id INTEGER)")
    insert(path, rows)
    return path


def insert(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM orders").fetchone()[0]
        connection.execute("BEGIN")
        for number in range(first, first + rows):
            connection.execute("INSERT INTO orders VALUES (?, ?)", (number, "x" * 200))
            connection.execute("INSERT INTO items VALUES (?)", (number,))
        connection.execute("COMMIT")


def migrate(path: Path) -> None:
    """What a migration does: another schema, every row rewritten."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
        connection.execute("BEGIN")
        connection.execute("ALTER TABLE orders ADD COLUMN paid INTEGER DEFAULT 0")
        connection.execute("UPDATE orders SET paid = 1, text = upper(text)")
        connection.execute("COMMIT")


def content(path: Path) -> str:
    """Everything that is in a database, as text; "absent" without one."""
    if not path.exists():
        return "absent"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        return "\n".join([mode, *connection.iterdump()])


def is_killed(action: Callable[[Path], object], path: Path) -> None:
    """Runs, in a process of its own, what ends itself by SIGKILL with its database half done."""
    assert not runs_to_end(lambda: action(path))


@contextmanager
def started(code: str, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that has said "ready"."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs_to_end(action: Callable[[], object], *, kill_at: int = 0) -> bool:
    """Runs the action in a process of its own, which is killed before its n-th change to the disk
    (or lock, or connection); False when it was killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test runner
        pid = os.fork()
    if pid == 0:
        try:
            if kill_at:
                _die_at(kill_at)
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def _die_at(number: int) -> None:
    left, process = number, os.getpid()

    def step() -> None:
        nonlocal left
        left -= os.getpid() == process
        if left == 0 and os.getpid() == process:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STEPS or (event == "open" and arguments[2] & (os.O_ACCMODE | os.O_CREAT)):
            step()

    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        step()
        real_fsync(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(audit)


_STEPS = {
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "fcntl.fcntl",
    "fcntl.ioctl",
    "shutil.copyfile",
    "sqlite3.connect",
    "sqlite3.connect/handle",
    "subprocess.Popen",
}


def insert_paid(path: Path) -> None:
    """A row that the new release writes during its probation."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO orders (text, paid) VALUES ('new', 1)")


def insert_paid_not(path: Path) -> None:
    """A row of the old release."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.1)) as connection:
        connection.execute("INSERT INTO orders (text) VALUES ('old')")


def migrate_again(path: Path) -> None:
    """The database is nobody's but the app's: all of it can be written anew."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
        connection.execute("UPDATE orders SET text = 'free'")
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
