from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests.releases.remote import Remote

from surefoot import control
from surefoot.cli.main import surefoot
from surefoot.home import Home
from surefoot.releases.ledger import Ledger
from surefoot.releases.store import Release, Store
from surefoot.update import requests
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from surefoot.update.requests import Request


@dataclass(frozen=True)
class Answer:
    """What a command has said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout, as one JSON value."""
        return json.loads(self.out)


class Commands:
    """Runs commands on one home."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def __call__(self, *arguments: str) -> Answer:
        return self.plain(*arguments, "--home", str(self.home.root))

    def plain(self, *arguments: str) -> Answer:
        result = CliRunner().invoke(surefoot, list(arguments), env={"SUREFOOT_HOME": ""})
        assert isinstance(result.exception, SystemExit | None), "never put in words"
        return Answer(result.exit_code, result.stdout, result.stderr)


class Supervisor:
    """What a running supervisor is to a client: the held lock, and the pipe with a reader. What
    is sent is answered by `engine`, which stands where the supervisor would start one."""

    def __init__(self, home: Home) -> None:
        home.run.mkdir(exist_ok=True)
        self.home = home
        self.engine: Callable[[Request], None] | None = None
        self.heard: list[str] = []
        os.mkfifo(home.control)
        self._pipe = os.open(home.control, os.O_RDWR)
        self._lock = os.open(control.lock_of(home), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def end(self) -> None:
        """It vanishes, as if it was killed."""
        with contextlib.suppress(OSError):
            os.write(self._pipe, b"end\n")
        self._thread.join()
        os.close(self._lock)
        os.close(self._pipe)
        self._lock = self._pipe = -1

    def _listen(self) -> None:
        with os.fdopen(os.dup(self._pipe), "r") as lines:
            for line in lines:
                if line == "end\n":
                    return
                self.heard.append(line.strip())
                request = requests.waiting(self.home)
                if self.engine and request:
                    self.engine(request)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    found = Remote(tmp_path / "remote")
    found.commit({"main.py": "print('hello')\n", "requirements.txt": ""}, "First")
    found.tag("v1.0")
    return found


@pytest.fixture
def home(tmp_path: Path, remote: Remote) -> Home:
    """Configured, with nothing installed."""
    root = (tmp_path / "home").resolve()
    (root / "data").mkdir(parents=True)
    (root / "surefoot.toml").write_text(
        f"""
[app]
name = "notes"
command = "python main.py"
[source]
git = "{remote.folder}"
[database]
url = "sqlite:///data/app.db"
"""
    )
    return Home(root)


@pytest.fixture
def run(home: Home) -> Commands:
    return Commands(home)


@pytest.fixture
def supervisor(home: Home) -> Iterator[Supervisor]:
    running = Supervisor(home)
    yield running
    if running._pipe >= 0:
        running.end()


@pytest.fixture
def installed(home: Home, remote: Remote) -> Release:
    """The remote's newest commit as a release that is whole, committed and in use."""
    return install(home, remote.git("rev-parse", "HEAD"), "v1.0")


def install(home: Home, commit: str, ref: str) -> Release:
    store = Store(home)
    release = Release(
        id=commit[:12], ref=ref, commit=commit, environment="e", created_at=datetime.now(UTC)
    )
    folder = store.staging(release.id)
    (folder / "app").mkdir()
    (folder / "processes").mkdir()
    (folder / "processes" / "app").write_text("#!/bin/sh\n")
    store.link_kept(release.id, ["data"])
    store.finish(release)
    store.switch(release.id)
    Ledger.load(home.ledger, now=datetime.now(UTC)).record_commit(release.id, datetime.now(UTC))
    return release


def engine(home: Home, *events: tuple[str, str, dict[str, Any]], pause_s: float = 0.0) -> Any:
    """An engine that takes the request up and writes these events into the history."""

    def work(request: Request) -> None:
        requests.withdraw(home, request)
        for event, text, facts in events:
            time.sleep(pause_s)
            History(home).append(request.id, event, text, **facts)

    return work
