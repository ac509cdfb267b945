"""The releases of a tiny app: small enough to be updated thousands of times, real all the same.

It serves over HTTP behind Surefoot's own middleware, keeps rows in SQLite, has an environment that
a release can change, and a migration that commits step by step and cannot be run twice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_APP = '''\
"""Keeps rows. POST /api/rows adds the body as one; GET /health and GET /api/version."""

import json
import select
import socket
import sys
import threading
from contextlib import closing

from database import connect, Error, with_values
from release import INSERT, STARTS, VERSION
from surefoot.app.wsgi import MaintenanceMiddleware


def app(environ, start_response):
    if environ["PATH_INFO"] == "/api/version":
        answer = {"version": VERSION}
    else:
        with closing(connect()) as connection:
            if environ["REQUEST_METHOD"] == "POST":
                text = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
                made = connection.execute(with_values(INSERT), {"text": text})
                answer = {"id": made.fetchone()[0]}
            else:
                answer = {"rows": connection.execute("SELECT count(*) FROM rows").fetchone()[0]}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def serve(connection):
    """A WSGI server for one request; wsgiref's takes longer to import than this app to start."""
    answer = []
    with connection, connection.makefile("rb") as file:
        method, place, _ = file.readline().decode().split()
        environ = {"REQUEST_METHOD": method, "PATH_INFO": place, "wsgi.input": file}
        while line := file.readline().decode().strip():
            name, _, value = line.partition(": ")
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        environ["CONTENT_LENGTH"] = environ.get("HTTP_CONTENT_LENGTH", "0")
        try:
            body = b"".join(APP(environ, lambda *started: answer.extend(started)))
        except Error:
            answer, body = ["500 Internal Server Error", []], b""
        head = [f"HTTP/1.0 {answer[0]}", *(f"{name}: {value}" for name, value in answer[1])]
        connection.sendall("\\r\\n".join([*head, "", ""]).encode() + body)


if not STARTS:
    sys.exit("This release does not start.")
APP = MaintenanceMiddleware(app)
server = socket.socket(fileno=3)
while select.select([server], [], []):
    try:
        connection, _ = server.accept()
    except BlockingIOError:  # the gate was quicker
        continue
    connection.settimeout(30)
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
'''

_DATABASE = '''\
"""SQLite or PostgreSQL, as the setting says; each statement is a transaction of its own."""

import os

URL = os.environ["DATABASE_URL"]
IS_SQLITE = URL.startswith("sqlite:")
if IS_SQLITE:
    from sqlite3 import Error, connect as _connect
else:
    from psycopg import Error, connect as _connect


def connect():
    if not IS_SQLITE:
        return _connect(URL, autocommit=True, connect_timeout=5)
    connection = _connect(URL.removeprefix("sqlite:///"), isolation_level=None, timeout=5)
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def with_values(statement):
    return statement if IS_SQLITE else statement.replace(":text", "%(text)s")
'''

_MIGRATE = '''\
"""Brings the database to this release's schema, step by step; never twice."""

from database import IS_SQLITE, connect

from release import FAILS, SCHEMA


def schema():
    if IS_SQLITE:
        return connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute("CREATE TABLE IF NOT EXISTS version (number int)")
    return connection.execute("SELECT coalesce(max(number), 0) FROM version").fetchone()[0]


def is_now(schema):
    if IS_SQLITE:
        connection.execute(f"PRAGMA user_version={schema}")
    else:
        connection.execute(f"INSERT INTO version VALUES ({schema})")


connection = connect()
found = schema()
if found < 1:
    number = "INTEGER PRIMARY KEY AUTOINCREMENT" if IS_SQLITE else "serial PRIMARY KEY"
    connection.execute(f"CREATE TABLE rows (id {number}, text TEXT)")
    is_now(1)
if found < 2 <= SCHEMA:
    connection.execute("ALTER TABLE rows ADD COLUMN length INTEGER")
    connection.execute("UPDATE rows SET length = length(text) WHERE id % 2 = 0")
    if FAILS:
        connection.execute("DELETE FROM rows WHERE id % 3 = 0")
        raise RuntimeError("This migration was not tried before it was released.")
    connection.execute("UPDATE rows SET length = length(text) WHERE id % 2 = 1")
    connection.execute("CREATE INDEX by_length ON rows (length)")
    is_now(2)
connection.close()
'''

_RELEASE = """\
VERSION = {tag!r}
SCHEMA = {schema}
FAILS = {fails}
STARTS = {starts}
INSERT = {insert!r}
"""

COLUMNS = {1: ["id", "text"], 2: ["id", "text", "length"]}
_INSERT = {
    1: "INSERT INTO rows (text) VALUES (:text) RETURNING id",
    2: "INSERT INTO rows (text, length) VALUES (:text, length(CAST(:text AS TEXT))) RETURNING id",
}


@dataclass(frozen=True)
class Release:
    """One tag. Every one of them comes after `first`, and after nothing else."""

    tag: str
    schema: int = 1
    fails: bool = False
    """Its migration ends half way."""
    starts: bool = True
    packages: str = "none"
    """Not installed from anywhere: it only makes the environment another one."""

    def files(self) -> dict[str, str]:
        return {
            "app.py": _APP,
            "database.py": _DATABASE,
            "migrate.py": _MIGRATE,
            "release.py": _RELEASE.format(
                tag=self.tag, schema=self.schema, fails=self.fails, starts=self.starts,
                insert=_INSERT[self.schema],
            ),
            "requirements.txt": f"# {self.packages}\n",
        }  # fmt: skip


FIRST = Release("first")
RELEASES = {
    release.tag: release
    for release in (
        FIRST,
        Release("code"),
        Release("whole", schema=2, packages="others"),
        Release("fails", schema=2, fails=True),
        Release("ill", schema=2, starts=False),
    )
}


class Source:
    """The git repository that the home follows."""

    def __init__(self, folder: Path) -> None:
        self.remote = folder / "remote.git"
        self._work = folder / "work"
        self._git_path = shutil.which("git") or "git"
        self.commits: dict[str, str] = {}
        self._work.mkdir(parents=True)
        self._git("init", "--quiet", "--bare", str(self.remote))
        self._git("init", "--quiet", "--initial-branch=main", str(self._work))
        self._commit(FIRST)

    def publish_the_others(self) -> None:
        """From now on there is something to fetch."""
        for release in RELEASES.values():
            if release is not FIRST:
                self._git("checkout", "--quiet", "--detach", FIRST.tag)
                self._commit(release)

    def _commit(self, release: Release) -> None:
        for name, text in release.files().items():
            (self._work / name).write_text(text, encoding="utf-8")
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", release.tag)
        self._git("tag", release.tag)
        refs = ["main"] if release is FIRST else []
        self._git("push", "--quiet", str(self.remote), *refs, f"refs/tags/{release.tag}")
        self.commits[release.tag] = self._git("rev-parse", "HEAD")

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._git_path, *arguments],
            cwd=self._work,
            env=_environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


def _environment() -> Mapping[str, str]:
    who = {"NAME": "Crash", "EMAIL": "crash@example.org", "DATE": "2026-01-01T00:00:00Z"}
    return {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    } | {
        f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()
    }
