"""A home with the tiny app in it, in a PID namespace of its own, so that all of it can be ended."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

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

    from surefoot.update.lock import Kind

PATIENCE_S = 60.0

_CONFIGURATION = """\
[app]
command = "python app.py"
listen = ["127.0.0.1:{port}"]
stop_grace = 5
environment = {{ PYTHONPATH = "{source}" }}

[source]
git = "{remote}"
branch = "main"

[database]
url = "sqlite:///data/rows.db"
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
    for name in ("strace", "unshare", "git"):
        if shutil.which(name) is None:
            return f"{name} is not installed"
    for what, command in (
        ("a PID namespace", [*_namespace(), "true"]),
        ("ptrace", ["strace", "-qq", "-o", os.devnull, "true"]),
    ):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return f"{what} is not allowed here"
    return ""


def _namespace() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc"]


class Place:
    """Prepared once, with a database of `size_mb`; `restore` makes it as it was then."""

    def __init__(
        self, folder: Path, *, home: Path | None = None, size_mb: int = 0, mode: str = "wal"
    ) -> None:
        self.folder = folder
        self.home = Home(home or folder / "home")
        self.log = folder / "log"
        self.source = Source(folder / "source")
        self.plans = Plans(folder)
        self.plans.wrap("engine", sys.executable)
        self.plans.wrap("git", shutil.which("git") or "git")
        self.plans.wrap("migration", "python migrate.py")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        self.prepared: dict[int, str] = {}
        self._prepare(size_mb, mode)

    def _prepare(self, size_mb: int, mode: str) -> None:
        self.home.root.mkdir(parents=True)
        self.plans.folder.mkdir()
        self.configure()
        self.start()
        self.wait_for(lambda: self.version() == FIRST.tag, "the first release serves")
        for number in range(40):
            text = f"row {number}"
            self.prepared[self.post(text)] = text
        with contextlib.closing(sqlite3.connect(self.home.data / "rows.db")) as connection:
            connection.execute("CREATE TABLE files (content BLOB)")
            for _ in range(size_mb):
                connection.execute("INSERT INTO files VALUES (zeroblob(1024 * 1024))")
            connection.commit()
        self.wait_for(lambda: self.is_quiet, "the first installation has ended")
        self.stop()
        with contextlib.closing(sqlite3.connect(self.home.data / "rows.db")) as connection:
            connection.execute(f"PRAGMA journal_mode={mode}")
        self.source.publish_the_others()
        shutil.copytree(self.home.root, self.folder / "prepared", symlinks=True)

    def configure(self, *, migrates: bool = True, rehearses: bool = False) -> None:
        text = _CONFIGURATION.format(
            port=self.port,
            source=Path(surefoot.__file__).parents[1],
            remote=self.source.remote,
            migrate=self.plans.tools / "migration" if migrates else "none",
            rehearse=0.2 if rehearses else 0,
            rehearses=str(rehearses).lower(),
        )
        (self.home.root / "surefoot.toml").write_text(text, encoding="utf-8")

    def restore(self) -> None:
        self.kill()
        for folder in (self.home.root, self.plans.folder):
            shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.folder / "prepared"), str(self.home.root)], check=True)
        self.plans.folder.mkdir()
        self.log.unlink(missing_ok=True)

    # -- running

    def start(self) -> None:
        run = _RUN.format(python=str(self.plans.tools / "engine"))
        command = [sys.executable, "-c", run, "run", "--home", str(self.home.root)]
        # Not PID 1, so that a wrapper can end all but the shell around it, and with it that too.
        inner = ["sh", "-c", '"$@" & wait', "sh", *command]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SUREFOOT_")}
        environment["PATH"] = f"{self.plans.tools}:{environment['PATH']}"
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
        for pid, name in self.processes().items():
            with contextlib.suppress(OSError):
                if "supervisor.sh" in name and self._is_leader(pid):
                    os.kill(pid, signal.SIGTERM)
        self.wait_for(lambda: not self.is_running, "the supervisor has ended")

    def _is_leader(self, pid: int) -> bool:
        locked = (self.home.run / "supervisor.lock").read_text().strip()
        status = Path(f"/proc/{pid}/status").read_text()
        return any(
            line.startswith("NSpid:") and line.split()[-1] == locked for line in status.splitlines()
        )

    def kill(self) -> None:
        if self._process is None:
            return
        pids = self.processes(init=True)
        self._process.kill()
        self._process.wait()
        self._process = None
        self.wait_for(lambda: not any(map(_is_alive, pids)), f"{pids} are gone")

    def processes(self, *, init: bool = False) -> dict[int, str]:
        """Everything in the namespace, with the command lines; `init` is its first process."""
        if self._process is None:
            return {}
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            first = int(children.read_text().split()[0])
            namespace = os.readlink(f"/proc/{first}/ns/pid")  # noqa: PTH115
        except (OSError, IndexError):
            return {}
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(folder / "ns/pid") == namespace:  # noqa: PTH115
                    line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    if line and (init or int(folder.name) != first):
                        found[int(folder.name)] = line.decode(errors="replace").strip()
        return found

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is in flight: a supervisor runs, and no engine."""
        lines = list(self.processes().values())
        return (
            any("supervisor.sh" in line for line in lines)
            and not any(" engine " in line for line in lines)
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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=8)
        with contextlib.closing(connection):
            connection.request(method, place, body.encode())
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")

    def post(self, text: str) -> int:
        status, answer = self.ask("POST", "/api/rows", text)
        if status != http.HTTPStatus.OK or answer is None:  # cut off behind its headers
            raise OSError(f"POST was answered with {status}")
        return int(answer["id"])

    def version(self) -> str | None:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, TypeError):
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
    """Writes rows all the while, and remembers those that were acknowledged."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.acknowledged = dict(place.prepared)
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

    def _work(self) -> None:
        number = 0
        while not self._ends.wait(0.05):
            number += 1
            text = f"written {number}"
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self.acknowledged[self._place.post(text)] = text
