"""An example as somebody deploys it: its own repository, its own surefoot.toml, `surefoot run`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.examples.running import free_port

from surefoot.demo import wheels
from surefoot.home import Home
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 90
FOREIGN = ("SUREFOOT_", "UPDATE_", "AUTO_UPDATE_", "LISTEN_", "NOTIFY_SOCKET", "DATABASE_", "BOT_")


class Deployed:
    """Leave it with `stop`."""

    def __init__(self, name: str, folder: Path, wheel: Path, **environment: str) -> None:
        self.home = Home(folder.resolve() / "home")
        self.port = free_port()
        self.work = folder / "work"
        self._remote = folder / "remote.git"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        kept = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        links = ",".join(filter(None, [os.environ.get("UV_FIND_LINKS"), str(wheel.parent)]))
        self._environment = kept | {"UV_FIND_LINKS": links} | environment
        shutil.copytree(
            EXAMPLES / name, self.work, ignore=shutil.ignore_patterns("__pycache__", "data")
        )
        requirements = self.work / "requirements.txt"
        pinned = re.sub(r"(?m)^surefoot$\n", "", requirements.read_text())
        requirements.write_text(pinned + wheels.pin(wheel))
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self._remote))
        self._git("init", "--quiet", "--initial-branch=main", str(self.work))
        self.home.root.mkdir()
        text = (self.work / "surefoot.toml").read_text().replace("8000", str(self.port))
        text = re.sub(r'git = ".*"', f'git = "{self._remote}"', text)
        (self.home.root / "surefoot.toml").write_text(f"{text}\n")

    def release(self, tag: str) -> None:
        """Publishes what is in the work tree, its VERSION set."""
        for file in self.work.rglob("*.py"):
            text = file.read_text()
            file.write_text(re.sub(r'(?m)^VERSION = ".*"', f'VERSION = "{tag[1:]}"', text))
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", tag)
        self._git("tag", tag)
        self._git("push", "--quiet", str(self._remote), "main", tag)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "surefoot", "run", "--home", str(self.home.root)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
        sys.stdout.write(self.log())  # shown where the test has failed

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "surefoot", *arguments, "--home", str(self.home.root)],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    def ask(self, path: str, body: str | None = None, **headers: str) -> tuple[int, Any]:
        """GET, or POST where there is a body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET" if body is None else "POST", path, body, given)
            answer = connection.getresponse()
            text = answer.read()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode()

    def version(self) -> str | None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = self.ask("/health")
            if status == http.HTTPStatus.OK:
                return str(answer["version"])
        return None

    def wait_for_version(self, version: str) -> None:
        self.wait_for(lambda: self.version() == version, f"{version} serves")

    def wait_until_quiet(self) -> None:
        self.wait_for(lambda: not self.home.lock.exists(), "nothing is in flight")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, f"{what}: not within {PATIENCE_S} s\n{self.log()}"
            time.sleep(0.05)

    def events(self) -> list[str]:
        return [event.event for event in History(self.home).read()]

    def _git(self, *arguments: str) -> None:
        who = {"NAME": "Example", "EMAIL": "example@example.org", "DATE": "2026-01-01T00:00:00Z"}
        subprocess.run(
            ["git", *arguments],
            cwd=self.work,
            env={
                "PATH": os.environ["PATH"],
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
                **{f"GIT_{r}_{k}": v for r in ("AUTHOR", "COMMITTER") for k, v in who.items()},
            },
            check=True,
        )
