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
import os
import socket
import sqlite3
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from release import INSERT, STARTS, VERSION
from surefoot.app.wsgi import MaintenanceMiddleware

DATABASE = os.environ["DATABASE_URL"].removeprefix("sqlite:///")


def connect():
    return sqlite3.connect(DATABASE, isolation_level=None, timeout=5)


def app(environ, start_response):
    place = environ["PATH_INFO"]
    connection = connect()
    try:
        connection.execute("PRAGMA synchronous=FULL")
        if place == "/api/version":
            answer = {"version": VERSION}
        elif environ["REQUEST_METHOD"] == "POST":
            text = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
            answer = {"id": connection.execute(INSERT, {"text": text}).lastrowid}
        else:
            answer = {"rows": connection.execute("SELECT count(*) FROM rows").fetchone()[0]}
    finally:
        connection.close()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *_):
        pass


if not STARTS:
    sys.exit("This release does not start.")
server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
server.socket = socket.socket(fileno=3)
server.server_name, server.server_port = "localhost", server.socket.getsockname()[1]
server.setup_environ()
server.set_app(MaintenanceMiddleware(app))
server.serve_forever()
'''

_MIGRATE = '''\
"""Brings the database to this release's schema, step by step; never twice."""

import os
import sqlite3

from release import FAILS, SCHEMA

path = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
connection = sqlite3.connect(path, isolation_level=None)
found = connection.execute("PRAGMA user_version").fetchone()[0]
if found < 1:
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
    connection.execute("PRAGMA user_version=1")
if found < 2 <= SCHEMA:
    connection.execute("ALTER TABLE rows ADD COLUMN length INTEGER")
    connection.execute("UPDATE rows SET length = length(text) WHERE id % 2 = 0")
    if FAILS:
        connection.execute("DELETE FROM rows WHERE id % 3 = 0")
        raise RuntimeError("This migration was not tried before it was released.")
    connection.execute("UPDATE rows SET length = length(text) WHERE id % 2 = 1")
    connection.execute("CREATE INDEX by_length ON rows (length)")
    connection.execute("PRAGMA user_version=2")
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
    1: "INSERT INTO rows (text) VALUES (:text)",
    2: "INSERT INTO rows (text, length) VALUES (:text, length(:text))",
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
