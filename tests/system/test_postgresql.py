"""The sample app with PostgreSQL, under Surefoot: updated, rolled back, killed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.databases.postgresql_server import (
    PASSWORD,
    QUOTED_PASSWORD,
    postgresql_server,
)
from tests.system.conftest import PATIENCE_S, kill_everything, stopped_at_last, wait_until
from tests.system.notes import Notes

from surefoot.demo import sample, server
from surefoot.demo.changes import Append, Release, Replace, good_releases
from surefoot.demo.client import Client
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.databases.postgresql_server import PostgresqlServer

    from surefoot.demo.sample import History

__all__ = ["postgresql_server"]

ROOT = Path(__file__).parents[2]
WAL = """\


@event.listens_for(engine, "connect")
def use_wal(connection: DBAPIConnection, _record: object) -> None:
    # Readers do not wait for the writer. The mode is kept in the file: setting it again is free.
    connection.cursor().execute("PRAGMA journal_mode = WAL")
"""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """The releases of the sample app, for PostgreSQL."""
    locked = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    driver = "".join(
        re.findall(r"^psycopg(?:-binary)?==(?:.*\n)(?:    --hash.*\n)+", locked, re.MULTILINE)
    )
    assert driver.count("==") >= 2
    changes = (
        Append("requirements.txt", driver),
        Replace("models.py", ', connect_args={"timeout": 10}', ", pool_pre_ping=True"),
        Replace("models.py", WAL, ""),
    )

    def for_postgresql(*pins: str) -> tuple[Release, ...]:
        first, *others = good_releases(*pins)
        return (replace(first, changes=(*first.changes, *changes)), *others)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sample, "good_releases", for_postgresql)
        yield sample.make_history(tmp_path_factory.mktemp("postgresql"))


class Shop(Notes):
    """The sample app with a database on a server."""

    def __init__(self, folder: Path, history: History, there: PostgresqlServer) -> None:
        super().__init__(folder, history)
        self.there = there
        there.make_database("notes")
        self.home.mkdir()
        self.configure(rehearsed=False)
        self.follow("v1.0")

    def configure(self, *, rehearsed: bool) -> None:
        text = server._CONFIGURATION.format(
            port=self._port,
            remote=self._history.remote,
            deadline=60,
            more=server._REHEARSED if rehearsed else server._NOT_REHEARSED,
        )
        for old, new in (
            ("sqlite:///data/notes.db", self.there.url("notes", driver="+psycopg")),
            ("timeout = 1\n", "timeout = 10\n"),
        ):
            assert old in text
            text = text.replace(old, new)
        (self.home / "surefoot.toml").write_text(text)

    def again(self, *, rehearsed: bool) -> None:
        """With another configuration."""
        self.stop()
        self.configure(rehearsed=rehearsed)
        self.start()
        self.wait_for("1.0", PATIENCE_S)

    def seen(self) -> str:
        """Everything that was printed or noted down, except where the password is meant to be."""
        files = [self.log, *self.home.joinpath("data").rglob("*")]
        text = [f.read_bytes().decode(errors="replace") for f in files if f.is_file()]
        return "".join([*text, *(str(file) for file in files)])


@pytest.fixture(scope="module")
def shop(
    history: History,
    tmp_path_factory: pytest.TempPathFactory,
    postgresql_server: PostgresqlServer,
) -> Iterator[Shop]:
    """Release v1.0, serving; for tests that end with v1.0 serving."""
    server = Shop(tmp_path_factory.mktemp("shop"), history, postgresql_server)
    with stopped_at_last(server):
        server.start()
        server.wait_for("1.0", 2 * PATIENCE_S)  # its environment is built meanwhile
        yield server
    postgresql_server.drop_all()


@pytest.mark.timeout(400)
def test_updates_go_live_bad_ones_do_not_and_a_backup_comes_back(shop: Shop) -> None:
    shop.again(rehearsed=True)
    with Client(shop.url) as client:
        wait_until(lambda: len(client.acknowledged) > 5, "some notes are there")
        assert shop.update("v1.2").outcome is ExitCode.OK
        assert shop.version() == "1.2"
        written = len(client.acknowledged)
        wait_until(lambda: len(client.acknowledged) > written, "new notes are accepted")
        bad = shop.update("bad-migration")
        assert bad.outcome is ExitCode.ABANDONED
        assert "was tried on a copy" in bad.reason
        client.stop()
        assert client.lost() == []
    assert {"migration_rehearsed", "rehearsed"} <= set(shop.events())
    assert shop.there.databases() == {"notes"}
    with shop.there.role("notes") as session:
        assert session.execute("SELECT min(words) FROM notes").fetchone() != (0,)

    name = next(
        kept["name"]
        for kept in json.loads(shop.command("backups", "--json").stdout)
        if kept["release"] == shop._history.commits["v1.0"][:12]
    )
    assert (shop.places.backups / f"{name}.dump").stat().st_mode & 0o777 == 0o600
    restored = shop.command("restore", name, "--with-release", "--wait")
    assert restored.returncode == ExitCode.OK, restored
    assert shop.version() == "1.0"
    doctor = shop.command("doctor").stdout
    assert f"notes on 127.0.0.1:{shop.there.port}, PostgreSQL" in doctor
    assert PASSWORD not in doctor + shop.seen()
    assert QUOTED_PASSWORD not in doctor + shop.seen()


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_what_fails_or_is_killed_in_the_cutover_loses_nothing(shop: Shop) -> None:
    """Not rehearsed: a migration of which one half is committed before the other fails; then
    SIGKILL of everything at several moments of the same."""
    shop.again(rehearsed=False)
    before = shop.there.dump("notes")
    assert shop.update("bad-migration").outcome is ExitCode.ROLLED_BACK
    assert shop.there.dump("notes") == before
    assert shop.version() == "1.0"

    with Client(shop.url, timeout_s=5) as client:
        for event in ("stopped", "migrating", "rolling_back"):
            killed_at(shop, event)
        written = len(client.acknowledged)
        wait_until(lambda: len(client.acknowledged) > written, "new notes are accepted")
        client.stop()
        assert client.lost() == []


def killed_at(shop: Shop, event: str) -> None:
    offset = shop.history_size()
    update = shop.begin("update", "--to", "bad-migration", "--wait")
    wait_until(lambda: event in shop.events(offset), f"the update is at {event}")
    kill_everything(shop)
    update.kill()
    update.communicate()
    shop.start()
    wait_until(lambda: not shop.lock.exists(), "the update has ended")
    wait_until(lambda: shop.version() == "1.0", "v1.0 serves")
