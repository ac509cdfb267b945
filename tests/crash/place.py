"""A home with the tiny app in it, in a PID namespace of its own, so that all of it can be ended."""

from __future__ import annotations

import contextlib
import http
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg
from tests.crash import injection, states
from tests.crash.databases import Postgresql, Sqlite
from tests.crash.injection import Plans
from tests.crash.sample import FIRST, Source

import surefoot
from surefoot import control
from surefoot.databases import backups
from surefoot.home import Home
from surefoot.update import requests
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.databases import Database
    from tests.databases.postgresql_server import PostgresqlServer

    from surefoot.update.lock import Kind

PATIENCE_S = 180.0

_CONFIGURATION = """\
[app]
command = "python app.py"
listen = ["127.0.0.1:{port}"]
stop_grace = 5
environment = {{ PYTHONPATH = "{paths}" }}

[source]
git = "{remote}"
branch = "main"

[database]
url = "{url}"
variable = "DATABASE_URL"
migrate = "{migrate}"

[health]
path = "/health"
deadline = 40
successes = 2
interval = 0.05
window = 0.1
watch = 0.1

[update]
rehearse = {rehearse}
rehearse_migrations = {rehearses}
"""
# As `surefoot run`, but for the engine, which is started through a wrapper.
_RUN = "import sys; sys.executable = {python!r}; from surefoot.__main__ import main; main()"


def why_not() -> str:
    """Why nothing can be injected here; empty where it can."""
    for name in ("unshare", "git"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    if subprocess.run([*_namespace(), "true"], capture_output=True, check=False).returncode:
        return "a PID namespace is not allowed here"
    return injection.why_not()


def _namespace() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc"]


@dataclass
class Copies:
    """The states of the home in an update that was watched, and what goes with them."""

    update: dict[str, str] = field(default_factory=dict)
    """By the program that was watched: the update."""
    writers: dict[str, Writer] = field(default_factory=dict)
    at_s: dict[int, float] = field(default_factory=dict)
    """By the state's number."""


class Place:
    """Prepared once, with a database of `size_mb`; `restore` makes it as it was then."""

    def __init__(
        self,
        folder: Path,
        *,
        home: Path | None = None,
        size_mb: int = 0,
        mode: str = "wal",
        server: PostgresqlServer | None = None,
    ) -> None:
        self.folder = folder
        self.home = Home(home or folder / "home")
        self.log = folder / "log"
        self.source = Source(folder / "source")
        self.plans = Plans(folder, self.home.root)
        self.plans.wrap("engine", sys.executable)
        self.plans.wrap("git", shutil.which("git") or "git")
        self.plans.wrap("migration", "python migrate.py")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        if server is not None:
            self.database: Database = Postgresql.made(server, f"rows{self.port}")
        else:
            self.database = Sqlite(self.home.data / "rows.db", size_mb, mode)
        self._process: subprocess.Popen[bytes] | None = None
        self.prepared: dict[int, str] = {}
        self.copies = Copies()
        self._prepare()

    def _prepare(self) -> None:
        self.home.root.mkdir(parents=True)
        self.plans.forget()
        self.configure()
        self.start()
        self.wait_for(lambda: self.version() == FIRST.tag, "the first release serves")
        for number in range(40):
            text = f"row {number}"
            self.prepared[self.post(text)] = text
        self.wait_for(lambda: self.is_quiet, "the first installation has ended")
        self.stop()
        self.database.prepare()
        self.source.publish_the_others()
        shutil.copytree(self.home.root, self.folder / "prepared", symlinks=True)

    def configure(self, *, migrates: bool = True, rehearses: bool = False) -> None:
        text = _CONFIGURATION.format(
            port=self.port,
            paths=f"{Path(surefoot.__file__).parents[1]}:{Path(psycopg.__file__).parents[1]}",
            url=self.database.url,
            remote=self.source.remote,
            migrate=self.plans.tools / "migration" if migrates else "none",
            rehearse=0.2 if rehearses else 0,
            rehearses=str(rehearses).lower(),
        )
        (self.home.root / "surefoot.toml").write_text(text, encoding="utf-8")

    def restore(self, state: int | None = None) -> None:
        """As it was when it was prepared, or in one of the states that were copied."""
        self.kill()
        shutil.rmtree(self.home.root, ignore_errors=True)
        if state is None:
            prepared = str(self.folder / "prepared")
            subprocess.run(["cp", "-a", prepared, str(self.home.root)], check=True)
            self.database.restore()
        else:
            states.restore(str(self.plans.states), state, str(self.home.root))
        self.plans.forget()
        self.log.unlink(missing_ok=True)

    # -- running

    def start(self) -> None:
        run = _RUN.format(python=str(self.plans.tools / "engine"))
        command = [sys.executable, "-c", run, "run", "--home", str(self.home.root)]
        # Not PID 1, so that a wrapper can end all but the shell around it, and with it that too.
        inner = ["sh", "-c", '"$@" & wait', "sh", *command]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SUREFOOT_")}
        # The real programs first: a version manager's Python and a distribution's pg_dump are
        # scripts that look for them each time.
        real = [str(Path(sys.executable).resolve().parent), *self.database.programs]
        environment["PATH"] = ":".join([str(self.plans.tools), *real, environment["PATH"]])
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_namespace(), *inner],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """As `docker stop` does."""
        locked = (self.home.run / "supervisor.lock").read_text().strip()
        os.kill(self._outer(locked), signal.SIGTERM)
        self.wait_for(lambda: not self.is_running, "the supervisor has ended")

    def _outer(self, inner: str) -> int:
        """What a process of the namespace is called outside of it."""
        first = self._first()
        namespace = os.readlink(f"/proc/{first}/ns/pid")  # noqa: PTH115
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                numbers = (folder / "status").read_text().partition("NSpid:")[2].splitlines()[0]
                if numbers.split()[-1] == inner and namespace == os.readlink(folder / "ns/pid"):  # noqa: PTH115
                    return int(folder.name)
        raise ProcessLookupError(inner)

    def kill(self) -> None:
        if self._process is None:
            return
        first = self._first()
        self._process.kill()
        self._process.wait()
        self._process = None
        if first is not None:  # it ends after all the others
            self.wait_for(lambda: not _is_alive(first), "all are gone")

    def _first(self) -> int | None:
        """The first process of the namespace."""
        if self._process is None:
            return None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with contextlib.suppress(OSError, IndexError):
            return int(children.read_text().split()[0])
        return None

    def processes(self) -> dict[int, str]:
        """Everything in the namespace but its first process, by the number that it has there, with
        the command lines."""
        found = {}
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{self._first()}/root/proc"):  # noqa: PTH208 - often
                if name.isdecimal() and name != "1":
                    with contextlib.suppress(OSError):
                        file = Path(f"/proc/{self._first()}/root/proc/{name}/cmdline")
                        line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                        if line and " --trace " not in line:
                            found[int(name)] = line.strip()
        return found

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight: a supervisor runs, no engine, and nothing that works on
        the database behind the app's back after a commit."""
        lines = list(self.processes().values())
        return (
            any("supervisor.sh" in line for line in lines)
            and not any(" engine " in line or "databases.settling" in line for line in lines)
            and not self.home.lock.exists()
        )

    def ask_for(self, tag: str | None, kind: Kind = "update") -> str:
        """Also a rollback, or the restore of the newest backup."""
        newest = backups.all(self.home.backups)[0].name if kind == "restore" else None
        request = requests.Request(
            ref=tag if kind != "restore" else None,
            kind=kind,
            backup=newest,
            restore_database=kind == "rollback",
        )
        requests.put(self.home, request)
        control.send(self.home, "update")
        return request.id

    # -- what is to be seen

    def wait_for(
        self, condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S
    ) -> None:
        end_s = time.monotonic() + patience_s
        while not condition():
            if time.monotonic() > end_s:
                raise TimeoutError(f"{what}: not within {patience_s:.0f} s")
            time.sleep(0.03)

    def ask(self, method: str, place: str, body: str = "") -> tuple[int, Any]:
        """Raises OSError or ValueError where the answer is cut off, or is none."""
        address = ("127.0.0.1", self.port)
        head = f"{method} {place} HTTP/1.0\r\nContent-Length: {len(body.encode())}\r\n\r\n"
        with socket.create_connection(address, timeout=8) as connection:
            connection.sendall((head + body).encode())
            received = b""
            while part := connection.recv(65536):
                received += part
        first, _, content = received.partition(b"\r\n\r\n")
        status = int(first.split()[1]) if len(first.split()) > 1 else 0
        return status, json.loads(content) if status == http.HTTPStatus.OK else None

    def post(self, text: str) -> int:
        status, answer = self.ask("POST", "/api/rows", text)
        if status != http.HTTPStatus.OK or answer is None:  # cut off behind its headers
            raise OSError(f"POST was answered with {status}")
        return int(answer["id"])

    def version(self) -> str | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            status, answer = self.ask("GET", "/api/version")
            healthy, _ = self.ask("GET", "/health")
            if status == healthy == http.HTTPStatus.OK:
                return str(answer["version"])
        return None

    def events(self, update: str) -> list[str]:
        return [e.event for e in History(self.home).read() if e.update == update]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "XZ"
    except OSError:
        return False


class Writer:
    """Writes rows all the while, and remembers those that were acknowledged, and when."""

    def __init__(self, place: Place, interval_s: float = 0.06) -> None:
        self._place = place
        self._interval_s = interval_s
        self.acknowledged = dict(place.prepared)
        self.at_s: dict[int, float] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._ends.set()
        self._thread.join()

    def until(self, at_s: float) -> dict[int, str]:
        """What was acknowledged before that moment of the monotonic clock."""
        return {n: t for n, t in self.acknowledged.items() if self.at_s.get(n, 0) < at_s}

    def _work(self) -> None:
        number = 0
        while not self._ends.wait(self._interval_s):
            number += 1
            text = f"written {number}"
            with contextlib.suppress(OSError, ValueError):
                row = self._place.post(text)
                self.at_s[row] = time.monotonic()
                # One that comes again under its number has been lost: the first is looked for.
                self.acknowledged.setdefault(row, text)
