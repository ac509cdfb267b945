from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from tests.examples.running import PATIENCE_S, check_out, free_port

from surefoot.demo import client, wheels
from surefoot.demo.changes import Release, Replace
from surefoot.demo.sample import make_history

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.demo.sample import History


def test_the_same_source_gives_the_same_commits_anywhere(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody Else")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[commit]\n\tgpgSign = true\n")
    wheel = next(history.wheels.glob("surefoot-*.whl"))
    assert make_history(tmp_path / "again", wheel=wheel).commits == history.commits


def test_the_remote_has_just_what_was_published(history: History, tmp_path: Path) -> None:
    wheel = next(history.wheels.glob("surefoot-*.whl"))
    quiet = make_history(tmp_path / "quiet", wheel=wheel, publish=("v1.0",))

    def on_remote() -> list[str]:
        return quiet.git("for-each-ref", "--format=%(refname)", folder=quiet.remote).split()

    assert on_remote() == ["refs/heads/main", "refs/tags/v1.0"]
    quiet.publish("v1.1", "bad-import")
    assert on_remote() == [
        "refs/heads/main",
        "refs/tags/bad-import",
        "refs/tags/v1.0",
        "refs/tags/v1.1",
    ]
    assert quiet.git("rev-parse", "main", folder=quiet.remote) == quiet.commits["v1.1"]


def test_a_release_of_ones_own_can_be_added(history: History, tmp_path: Path) -> None:
    wheel = next(history.wheels.glob("surefoot-*.whl"))
    mine = make_history(tmp_path / "mine", wheel=wheel)
    title = Replace("main.py", '"My notes"', '"Our notes"')
    commit = mine.add(Release("v1.4", "another title", "v1.3", (title,)))
    mine.publish("v1.4")
    assert mine.git("rev-parse", "v1.4^{commit}", folder=mine.remote) == commit
    assert 'VERSION = "1.4"' in mine.git("show", "v1.4:main.py")


def test_every_wheel_that_is_pinned_has_its_hash(history: History) -> None:
    requirements = history.git("show", "v1.2:requirements.txt") + "\n"
    for wheel in history.wheels.glob("*.whl"):
        assert wheels.pin(wheel) in requirements


def test_pip_and_uv_are_told_of_the_wheels_beside_those_of_the_user(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/mine")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    assert history.environment == {
        "PIP_FIND_LINKS": f"/mine {history.wheels}",
        "UV_FIND_LINKS": str(history.wheels),
    }


def test_an_installed_surefoot_makes_its_wheel_and_its_sample_as_well(
    history: History, tmp_path: Path
) -> None:
    wheel = next(history.wheels.glob("surefoot-*.whl"))
    installed = tmp_path / "installed"
    install = f"-m uv pip install --quiet --no-deps --offline --no-config --target {installed}"
    subprocess.run([sys.executable, *install.split(), wheel], check=True)
    for target in ("first", "second"):
        subprocess.run(
            [sys.executable, "-m", "surefoot.demo.sample", str(tmp_path / target)],
            env={**os.environ, "PYTHONPATH": str(installed)},
            cwd=tmp_path,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        # What it has packed can be installed in its turn, and then has the same to offer.
        packed = tmp_path / target / "wheels" / wheel.name
        assert packed.is_file()
        subprocess.run([sys.executable, *install.split(), "--reinstall", packed], check=True)
    first, second = (
        (tmp_path / target / "wheels" / wheel.name).read_bytes() for target in ("first", "second")
    )
    assert first == second


def test_bad_migration_is_really_half_done_when_it_fails(
    history: History, empty_database: Path, tmp_path: Path
) -> None:
    release = check_out(history, "bad-migration", tmp_path / "app")
    shutil.copy(empty_database, release.database)
    with contextlib.closing(sqlite3.connect(release.database)) as database:
        database.execute("INSERT INTO notes (text, created_at) VALUES ('milk', '2025-01-01')")
        database.commit()
        assert release.migrate().returncode != 0
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        assert "tags" in tables
        assert database.execute("SELECT text FROM notes").fetchall() == [("",)]
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0002",)]


def test_bad_import_ends_by_itself(history: History, tmp_path: Path) -> None:
    release = check_out(history, "bad-import", tmp_path / "app")
    with release.started(free_port()) as process:
        assert process.wait(PATIENCE_S) not in {0, 10}


def test_bad_crash_answers_first_and_then_ends(history: History, tmp_path: Path) -> None:
    with check_out(history, "bad-crash", tmp_path / "app").serving() as app:
        assert app.process.wait(PATIENCE_S) not in {0, 10}


def test_bad_hang_stays_and_does_not_listen(history: History, tmp_path: Path) -> None:
    port = free_port()
    with check_out(history, "bad-hang", tmp_path / "app").started(port) as process:
        time.sleep(2)
        assert process.poll() is None
        with pytest.raises(ConnectionRefusedError):
            client.get(f"http://127.0.0.1:{port}", "/health")


def test_bad_health_serves_but_says_500(
    history: History, empty_database: Path, tmp_path: Path
) -> None:
    release = check_out(history, "bad-health", tmp_path / "app")
    shutil.copy(empty_database, release.database)
    with release.serving() as app:
        assert client.get(app.url, "/health") == (500, None)
        assert client.get(app.url, "/api/notes") == (200, [])


def test_bad_stop_serves_but_does_not_end_when_told(
    history: History, empty_database: Path, tmp_path: Path
) -> None:
    release = check_out(history, "bad-stop", tmp_path / "app")
    shutil.copy(empty_database, release.database)
    with release.serving() as app:
        assert client.get(app.url, "/health")[0] == 200
        app.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            app.process.wait(2)


def test_bad_dependency_asks_for_what_is_nowhere(history: History) -> None:
    requirements = history.git("show", "bad-dependency:requirements.txt")
    assert "notes-words==9.9 " in requirements
    assert not list(history.wheels.glob("notes_words-9*"))
