"""A tiny app of the standard library's, and a home with it: real in all its parts, and quick.

Its releases are good, or bad in the way that they say. It keeps rows in SQLite; every
schema has one column more, which its migration adds step by step.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from surefoot.home import Home
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENCE_S = 90.0

_APP = """\
import json, os, socket, sqlite3, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from release import KIND, VERSION

PATH = os.environ["DATABASE_URL"].removeprefix("sqlite:///")
if KIND == "dies":
    sys.exit("This release does not start.")
if KIND == "starts slowly":
    time.sleep(3)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health" and KIND == "ill":
            return self.answer(500, "ill")
        if self.path == "/health" and KIND == "hangs":
            time.sleep(60)
        self.answer(200, {"version": VERSION, "pid": os.getpid()})

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        connection = sqlite3.connect(PATH, isolation_level=None, timeout=10)
        connection.execute("PRAGMA synchronous=FULL")
        number = connection.execute("INSERT INTO rows (text) VALUES (?)", (text,)).lastrowid
        connection.close()
        self.answer(200, {"id": number})

    def answer(self, status, what):
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.daemon_threads = True
server.socket.close()
server.socket = socket.socket(fileno=3)
if KIND == "ages":
    import threading
    threading.Timer(1.5, os._exit, (3,)).start()
server.serve_forever()
"""

_MIGRATE = """\
import os, sqlite3, time
from release import KIND, SCHEMA

connection = sqlite3.connect(
    os.environ["DATABASE_URL"].removeprefix("sqlite:///"), isolation_level=None
)
found = connection.execute("PRAGMA user_version").fetchone()[0]
if found < 1:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
    connection.execute("PRAGMA user_version=1")
for number in range(max(found, 1) + 1, SCHEMA + 1):
    connection.execute(f"ALTER TABLE rows ADD COLUMN length_{number} INTEGER")
    if KIND == "takes long":
        time.sleep(3)
    if KIND == "fails":
        connection.execute("DELETE FROM rows WHERE id % 2 = 0")
        raise RuntimeError("This migration was not tried.")
    connection.execute(f"UPDATE rows SET length_{number} = length(text)")
    connection.execute(f"PRAGMA user_version={number}")
connection.close()
"""

_CONFIGURATION = """\
[app]
name = "tiny"
command = "python app.py"
listen = ["127.0.0.1:{port}"]
stop_grace = 5
crash_delay = 0.5
stable_after = 20

[source]
git = "{remote}"
branch = "main"

[build]
dependencies = "none"

[database]
url = "sqlite:///data/rows.db"
variable = "DATABASE_URL"
migrate = "python migrate.py"

[health]
path = "/health"
deadline = 20
timeout = 10
interval = 0.05
successes = 2
window = 0.1
watch = {watch}

[update]
rehearse = 0
rehearse_migrations = false
{more}"""


class Repository:
    """The git repository that the home follows."""

    def __init__(self, folder: Path) -> None:
        self.remote = folder / "remote.git"
        self._work = folder / "work"
        self.commits: dict[str, str] = {}
        if self._work.exists():  # it goes on being used
            tags = self.git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/tags")
            self.commits = dict(line.split() for line in tags.splitlines())
            return
        self._work.mkdir(parents=True)
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.remote))
        self.git("init", "--quiet", "--initial-branch=main", str(self._work))

    def release(self, tag: str, kind: str = "good", *, schema: int = 1, follow: bool = True) -> str:
        """Commits and publishes a release; returns its id. `kind`: good, dies (at its start), ill
        (health answers 500), hangs, starts slowly, ages (ends after a second), fails (its
        migration, half way), takes long (its migration)."""
        text = f"VERSION = {tag!r}\nKIND = {kind!r}\nSCHEMA = {schema}\n"
        for name, content in (("app.py", _APP), ("migrate.py", _MIGRATE), ("release.py", text)):
            (self._work / name).write_text(content, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", tag)
        self.git("tag", tag)
        self.commits[tag] = self.git("rev-parse", "HEAD")
        refs = ["+HEAD:refs/heads/main"] if follow else []
        self.git("push", "--quiet", str(self.remote), f"refs/tags/{tag}", *refs)
        return self.commits[tag][:12]

    def follow(self, tag: str) -> None:
        """Where the branch points to from now on."""
        where = f"{self.commits[tag]}:refs/heads/main"
        self.git("push", "--quiet", "--force", str(self.remote), where)

    def git(self, *arguments: str) -> str:
        who = {"NAME": "Tiny", "EMAIL": "tiny@example.org", "DATE": "2026-01-01T00:00:00Z"}
        done = subprocess.run(
            ["git", *arguments],
            cwd=self._work,
            env={
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
                **{f"GIT_{r}_{k}": v for r in ("AUTHOR", "COMMITTER") for k, v in who.items()},
            },
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()


class Tiny:
    """A home with the tiny app; `start` runs it for real."""

    def __init__(self, folder: Path, repository: Repository, *, watch_s: float = 0.1) -> None:
        self.home = Home(folder.resolve() / "home")
        self.log = folder / "log"
        self.port = free_port()
        self.repository = repository
        self.watch_s = watch_s
        self.python = sys.executable
        """What starts the engine."""
        self._process: subprocess.Popen[bytes] | None = None
        self.configure()

    def configure(self, more: str = "") -> None:
        """Writes surefoot.toml; `more` belongs to [update], or is other sections."""
        self.home.root.mkdir(parents=True, exist_ok=True)
        text = _CONFIGURATION.format(
            port=self.port, remote=self.repository.remote, watch=self.watch_s, more=more
        )
        (self.home.root / "surefoot.toml").write_text(text, encoding="utf-8")

    # -- running

    @property
    def environment(self) -> dict[str, str]:
        foreign = ("SUREFOOT_", "UPDATE_", "AUTO_UPDATE_", "LISTEN_", "NOTIFY_SOCKET", "DATABASE_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        return kept | {"PYTHONDONTWRITEBYTECODE": "1"}

    def start(self, *prefix: str) -> subprocess.Popen[bytes]:
        """`surefoot run`, in a session of its own; `prefix` is put before the command."""
        run = f"import sys; sys.executable = {self.python!r}; from surefoot.__main__ import main; "
        run += "main()"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-c", run, "run", "--home", str(self.home.root)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process

    def stop(self) -> None:
        """As a service manager does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None

    def kill_all(self) -> None:
        """SIGKILL for everything that belongs to the home."""
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process is not None:
                self._process.wait(60)
                self._process = None

    def processes(self) -> dict[int, str]:
        """What bears the home's name and is not a command of the test's, by pid."""
        mark = b"SUREFOOT_HOME=" + os.fsencode(self.home.root)
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if mark in (folder / "environ").read_bytes().split(b"\0") and stat[0] not in "ZX":
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(folder.name)] = line.decode(errors="replace").strip()
        found.pop(os.getpid(), None)
        return found

    def command(self, *arguments: str, timeout_s: float = 110) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "surefoot", *arguments, "--home", str(self.home.root)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    # -- what is to be seen

    def ask(self, method: str, place: str, body: str = "") -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(method, place, body.encode())
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")

    def post(self, text: str) -> int:
        """Adds a row and returns its id; OSError where it was not acknowledged."""
        status, answer = self.ask("POST", "/rows", text)
        if status != http.HTTPStatus.OK:
            raise OSError(f"answered with {status}")
        return int(answer["id"])

    def said(self) -> dict[str, Any]:
        """The version and the pid of who answers; empty where nobody does."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, answer = self.ask("GET", "/version")
            if status == http.HTTPStatus.OK:
                return dict(answer)
        return {}

    def version(self) -> str | None:
        return self.said().get("version")

    def wait_for_version(self, version: str) -> None:
        self.wait_for(lambda: self.version() == version, f"{version} serves")

    def wait_until_quiet(self) -> None:
        self.wait_for(
            lambda: (
                not self.home.lock.exists()
                and not any(" engine " in line for line in self.processes().values())
            ),
            "nothing is in flight, and no engine runs",
        )

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, f"{what}: not within {PATIENCE_S} s\n{self.log_tail()}"
            time.sleep(0.05)

    def log_tail(self, lines: int = 60) -> str:
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def events(self, update: str | None = None) -> list[str]:
        found = History(self.home).read()
        return [event.event for event in found if update in {None, event.update}]

    def ledger(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(self.home.ledger.read_bytes()))

    def id_of(self, tag: str) -> str:
        return self.repository.commits[tag][:12]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def assert_one_sentence(text: str) -> None:
    """What a user is told: one line, no traceback, no word of a bug."""
    lines: Sequence[str] = [line for line in text.strip().splitlines() if line.strip()]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    assert "This is a bug" not in text
    assert lines[0].startswith("surefoot: "), text
