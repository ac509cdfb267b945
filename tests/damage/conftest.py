"""A home with the tiny app's first release in use, put back for each example, and the other end of
the engine's pipes: a simulator of the supervisor."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from tests.tiny import Repository, Tiny

from surefoot import config
from surefoot.cli.main import MEANINGS, surefoot
from surefoot.control import Processes
from surefoot.errors import ExitCode
from surefoot.update import requests
from surefoot.update.engine import Engine
from surefoot.update.history import History
from surefoot.update.lock import Lock, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.home import Home
    from surefoot.update.lock import Update
    from surefoot.update.states import State


class Crash(BaseException):
    """The engine is killed here."""


@dataclass
class Played:
    """A supervisor that does at once what it is told, and starts nothing."""

    said: list[str] = field(default_factory=list)
    """What the engine has told it."""

    def __enter__(self) -> Processes:
        self._ears, control = os.pipe()
        events, self._mouth = os.pipe()
        self._open = [control, events]
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return Processes(control, events)

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open:
            os.close(descriptor)
        self._thread.join()
        os.close(self._mouth)

    def _listen(self) -> None:
        answers = {"stop": b"stopped\n", "try": b"started\n", "run": b"started\n"}
        with os.fdopen(self._ears) as lines:
            for line in lines:
                self.said.append(line.strip())
                with contextlib.suppress(OSError):
                    os.write(self._mouth, answers.get(line.strip(), b""))


class Place:
    """`restore` makes it as it was prepared: v1 was committed and then v2, both with their rows."""

    def __init__(self, folder: Path) -> None:
        repository = Repository(folder / "source")
        repository.release("v1")
        self.tiny = Tiny(folder, repository)
        self.home: Home = self.tiny.home
        toml = self.home.root / "surefoot.toml"
        text = toml.read_text().replace('path = "/health"\n', "").replace("listen =", "# ")
        toml.write_text(text)  # what is played has no address: it is healthy while it stays up
        assert self.engine("update") is ExitCode.OK
        repository.release("v2")
        assert self.engine("update") is ExitCode.OK
        repository.release("bad", "dies", follow=False)
        repository.release("v3", schema=2)
        self.write_rows(10)
        self._folder = folder
        self._keep("prepared")

    def _keep(self, name: str) -> None:
        subprocess.run(["cp", "-a", str(self.home.root), str(self._folder / name)], check=True)

    def restore(self, interrupted_at: State | None = None) -> None:
        """As it was prepared; or with the update to v3 (and its migration) killed in that state."""
        name = interrupted_at or "prepared"
        if not (self._folder / name).exists():
            self.restore()
            self.ask("v3")
            assert self.engine("update", crash_at=interrupted_at) is None
            self._keep(name)
        subprocess.run(["rm", "-rf", str(self.home.root)], check=True)
        subprocess.run(["cp", "-a", str(self._folder / name), str(self.home.root)], check=True)

    # -- the engine

    def engine(
        self,
        verb: str,
        *,
        auto: bool = False,
        crash_at: State | None = None,
        crash_before_retry: bool = False,
    ) -> ExitCode | None:
        """What the supervisor would start; None where it was killed right after it has saved
        `crash_at`, or while it waited to try a step once more."""
        self.played = Played()
        with self.played as processes:
            engine = Engine(self.home, config.load(self.home.root, {}), processes)
            save = engine.host.save

            def save_and_crash(update: Update) -> None:
                save(update)
                if update.state is crash_at:
                    raise Crash

            def wait_or_crash(attempt: int) -> None:
                del attempt  # nobody has to wait here
                if crash_before_retry:
                    raise Crash

            engine.host.save = save_and_crash  # type: ignore[method-assign]
            engine.host.pause = wait_or_crash  # type: ignore[method-assign]
            try:
                return engine.update(auto=auto) if verb == "update" else getattr(engine, verb)()
            except Crash:
                return None
            finally:
                engine.host.serving.gate.open()

    def ask(self, ref: str | None = None, **facts: Any) -> str:
        self.home.run.mkdir(exist_ok=True)
        request = requests.Request(ref=ref, **facts)
        requests.put(self.home, request)
        return request.id

    def lock(self) -> Update | None:
        return Lock(self.home).read()

    def tiny_release_is_lost(self, tag: str) -> None:
        shutil.rmtree(self.home.releases / self.tiny.id_of(tag))

    def history_says(self, event: str, **facts: Any) -> None:
        History(self.home).append(new_id(), event, "It was ill.", reason="It was ill.", **facts)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    # -- the command line

    def cli(self, *arguments: str) -> tuple[int, str, str]:
        """A command, in this process. Whatever has become of the files, it is told in words."""
        result = CliRunner().invoke(
            surefoot, [*arguments, "--home", str(self.home.root)], env={"SUREFOOT_HOME": ""}
        )
        assert isinstance(result.exception, SystemExit | None), result.exception
        assert result.exit_code in MEANINGS, result.exit_code
        assert "Traceback" not in result.stderr + result.stdout
        assert "This is a bug" not in result.stderr, result.stderr
        return result.exit_code, result.stdout, result.stderr

    # -- the database

    @property
    def database(self) -> Path:
        return self.home.data / "rows.db"

    def write_rows(self, count: int) -> None:
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            for number in range(count):
                connection.execute("INSERT INTO rows (text) VALUES (?)", (f"row {number}",))

    def rows(self) -> tuple[int, list[str]]:
        """The schema's version, and the rows' texts."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            texts = connection.execute("SELECT text FROM rows ORDER BY id").fetchall()
        return int(version), [text for (text,) in texts]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("damage"))


@pytest.fixture
def place(prepared: Place) -> Iterator[Place]:
    prepared.restore()
    yield prepared
    for name in ("data", "releases", "environments", "run"):
        with contextlib.suppress(OSError):
            (prepared.home.root / name).chmod(0o755)
