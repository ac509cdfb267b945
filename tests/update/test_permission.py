from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.tiny import Repository, Tiny

from surefoot.config import Update
from surefoot.errors import ExitCode, StageError
from surefoot.home import Home
from surefoot.update import permission
from surefoot.update.history import History
from surefoot.update.permission import Permission

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "run").mkdir()
    return Home(tmp_path)


@contextmanager
def busy(home: Home, reason: str = "exports") -> Iterator[None]:
    """As a process of the app says it."""
    program = (
        "import sys; from surefoot.app import busy\n"
        "with busy(sys.argv[1]): print('busy', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, reason],
        env=os.environ | {"SUREFOOT_HOME": str(home.root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.communicate("")


def window(begin: timedelta, end: timedelta) -> str:
    now = datetime.now(UTC)
    return f"{now + begin:%H:%M}-{now + end:%H:%M}"


def test_nothing_begins_by_itself_outside_of_the_windows(home: Home) -> None:
    closed = Update(windows=[window(timedelta(hours=2), timedelta(hours=4))], timezone="UTC")
    assert not Permission(home, closed).may_begin()
    opens = Permission(home, closed).opens_at(datetime.now(UTC))
    assert opens is not None
    assert timedelta(hours=1) < opens - datetime.now(UTC) <= timedelta(hours=2)
    opened = Update(windows=[window(-timedelta(hours=1), timedelta(hours=1))], timezone="UTC")
    assert Permission(home, opened).may_begin()
    assert list(History(home).read()) == []


def test_while_the_app_is_busy_it_is_put_off_and_told_once(home: Home) -> None:
    asked = Permission(home, Update())
    with busy(home):
        assert not asked.may_begin()
        assert not asked.may_begin()
        assert home.postponed.exists()
        assert [event.text for event in History(home).read()] == [
            "An update was put off, the app is busy: exports."
        ]
    assert asked.may_begin()
    assert not home.postponed.exists()


def test_the_veto_ends_at_its_deadline_and_counts_anew_after_an_update(home: Home) -> None:
    asked = Permission(home, Update(busy_deadline_s=0.000001))
    with busy(home):
        assert not asked.may_begin()
        assert asked.postponed_since() is not None
        assert asked.may_begin()
        History(home).append("u1", "committed")
        assert asked.postponed_since() is None
        assert not asked.may_begin()


def test_a_release_that_is_ready_waits_for_the_app_but_not_for_ever(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Permission(home, Update())
    asked.wait()
    monkeypatch.setattr(permission, "PATIENCE_S", 0.1)
    with busy(home):
        with pytest.raises(StageError, match="tried again by itself"):
            asked.wait()
        assert home.postponed.exists()
    asked.wait()


@pytest.mark.system
def test_what_is_asked_for_comes_and_what_comes_by_itself_waits(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "git")
    repository.release("v1")
    app = Tiny(tmp_path, repository)
    app.configure("auto = true\ninterval = 1")
    app.start()
    try:
        app.wait_for_version("v1")
        app.wait_until_quiet()
        with busy(app.home):
            repository.release("v2")
            app.wait_for(lambda: "postponed" in app.events(), "the update was put off")
            assert "the app is busy (exports); put off since" in app.command("status").stdout
            asked = app.command("update", "--wait")
            assert asked.returncode == ExitCode.OK, asked
            assert "The app is busy (exports); it is updated all the same." in asked.stderr
            assert app.version() == "v2"
            repository.release("v3")
            app.wait_for(lambda: app.events().count("postponed") == 2, "it was put off again")
            assert app.version() == "v2"
        app.wait_for_version("v3")
    finally:
        app.stop()
