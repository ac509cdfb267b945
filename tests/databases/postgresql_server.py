"""A real PostgreSQL server, as an ordinary user, in a folder of its own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from tests.needs import program

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE = "notes"
PASSWORD = "s3cr3t/:@pass"
QUOTED_PASSWORD = "s3cr3t%2F%3A%40pass"
DEADLINE_S = 60


@dataclass
class PostgresqlServer:
    """`role` may create databases and log in by password, and is no superuser."""

    fsync: bool = False
    folder: Path = field(init=False)
    port: int = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.programs = program("postgres", "postgresql").parent
        memory = Path("/dev/shm")
        in_memory = not self.fsync and os.access(memory, os.W_OK)
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir=memory if in_memory else None))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # It refuses to run as root.
        self._owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        self._run("initdb", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256",
                  "--username=super", "--encoding=UTF8", "--locale=C.UTF-8",
                  "-D", self.data)  # fmt: skip

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder, "fsync": "on" if self.fsync else "off",
            "max_connections": 40, "shared_buffers": "32MB", "max_prepared_transactions": 4,
            "log_statement": "none", "wal_level": "logical",
        }  # fmt: skip
        options = [word for k, v in settings.items() for word in ("-c", f"{k}={v}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_owner(), self.programs / "postgres", "-D", self.data, *options],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.superuser("postgres").close()
            return True
        return False

    def kill(self) -> None:
        """What a power cut of the server's does: an immediate shutdown."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        if self._process is not None:
            self._end(signal.SIGINT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def superuser(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="super", dbname=database, autocommit=True
        )

    def role(self, database: str, role: str = ROLE) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(
            host=str(self.folder), port=self.port, user=role, dbname=database, autocommit=True
        )

    def url(self, database: str, *, driver: str = "", role: str = ROLE) -> str:
        return f"postgresql{driver}://{role}:{QUOTED_PASSWORD}@127.0.0.1:{self.port}/{database}"

    def make_role(self, role: str = ROLE, rights: str = "CREATEDB") -> None:
        with self.superuser("postgres") as session:
            session.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} {}").format(
                    sql.Identifier(role), _verifier(PASSWORD), sql.SQL(rights)
                )
            )

    def make_database(self, name: str, owner: str = ROLE) -> None:
        with self.superuser("postgres") as session:
            session.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(owner)
                )
            )

    def databases(self) -> set[str]:
        with self.superuser("postgres") as session:
            rows = session.execute("SELECT datname FROM pg_database").fetchall()
        return {name for (name,) in rows} - {"postgres", "template0", "template1"}

    def drop_all(self) -> None:
        with self.superuser("postgres") as session:
            for name in self.databases():
                place = sql.Identifier(name)
                session.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(place))
                session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(place))

    def dump(self, database: str) -> str:
        """Everything in it, as pg_dump sees it, and what belongs to it as a whole."""
        text = self._run("pg_dump", "-h", str(self.folder), "-p", str(self.port), "-U", "super",
                         "--create", database)  # fmt: skip
        # Newer versions put a random word at both ends.
        return "\n".join(line for line in text.splitlines() if "restrict" not in line)

    def _end(self, signal_: signal.Signals) -> None:
        assert self._process is not None
        pid = int((self.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal_)
        self._process.wait(DEADLINE_S)
        self._process = None

    def _run(self, name: str, *arguments: object) -> str:
        ended = subprocess.run(
            [*self._as_owner(), self.programs / name, *map(str, arguments)],
            capture_output=True, text=True, cwd="/", check=False,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def _as_owner(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        uid, gid = str(self._owner.pw_uid), str(self._owner.pw_gid)
        return ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups"]


def _verifier(password: str) -> str:
    """What the server keeps of a password (RFC 5803), hashed once and not 4,096 times: the tests
    open thousands of connections, and both ends would spend most of the time on this."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    words = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return "SCRAM-SHA-256$1:{}${}:{}".format(*words)


@contextlib.contextmanager
def running(*, fsync: bool = False) -> Iterator[PostgresqlServer]:
    server = PostgresqlServer(fsync=fsync)
    try:
        server.start()
        server.make_role()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One for all tests of a run, where a test asks for it."""
    with running() as server:
        yield server


@pytest.fixture
def postgresql(postgresql_server: PostgresqlServer) -> Iterator[PostgresqlServer]:
    """The server with nothing in it but the role `notes`."""
    yield postgresql_server
    postgresql_server.drop_all()
