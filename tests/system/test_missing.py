"""What an update needs is gone: the app goes on or comes back, and somebody says so."""

from __future__ import annotations

import http
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.tiny import Repository, Tiny, assert_one_sentence

from surefoot import control
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """v1 and then v2 were committed, ten rows are there; stopped. Copied back for every test."""
    folder = tmp_path_factory.mktemp("missing")
    repository = Repository(folder / "source")
    repository.release("v1")
    tiny = Tiny(folder, repository)
    try:
        tiny.start()
        tiny.wait_for_version("v1")
        tiny.wait_until_quiet()
        for number in range(10):
            tiny.post(f"row {number}")
        repository.release("v2")
        done = tiny.command("update", "--wait")
        assert done.returncode == 0, done
        tiny.wait_until_quiet()
        tiny.stop()
    finally:
        tiny.kill_all()
    repository.release("ill", "ill", follow=False)
    repository.release("v3", schema=2, follow=False)
    subprocess.run(["cp", "-a", str(tiny.home.root), str(folder / "template")], check=True)
    return tiny


@pytest.fixture
def tiny(template: Tiny) -> Iterator[Tiny]:
    root = template.home.root
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "-a", str(root.parent / "template"), str(root)], check=True)
    template.log.unlink(missing_ok=True)
    template.python = sys.executable
    try:
        yield template
        template.stop()
        template.wait_for(lambda: not template.processes(), "nothing is left behind")
    finally:
        template.kill_all()
        sys.stdout.write(template.log_tail(300))


def rows(tiny: Tiny) -> int:
    with closing(sqlite3.connect(tiny.home.data / "rows.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])


def in_use(tiny: Tiny) -> str:
    return tiny.home.current.readlink().name


def test_a_missing_current_becomes_the_last_committed_release(tiny: Tiny) -> None:
    tiny.home.current.unlink()
    tiny.start()
    tiny.wait_for_version("v2")
    assert "recovered" in tiny.events()
    assert in_use(tiny) == tiny.id_of("v2")


def test_a_dangling_current_with_its_release_gone_is_made_again(tiny: Tiny) -> None:
    """The release before is there, but the data belongs to the one that served last."""
    tiny.repository.follow("v1")
    shutil.rmtree(tiny.home.releases / tiny.id_of("v2"))
    tiny.home.ledger.unlink()  # and so is the ledger: the history knows
    tiny.start()
    tiny.wait_for(lambda: tiny.version() in {"v1", "v2"}, "a committed release serves")
    tiny.wait_until_quiet()
    assert rows(tiny) == 10


def test_with_the_schema_moved_on_an_older_release_is_not_taken(tiny: Tiny) -> None:
    tiny.start()
    tiny.wait_for_version("v2")
    assert tiny.command("update", "--to", "v3", "--wait").returncode == 0
    tiny.wait_until_quiet()
    tiny.stop()
    shutil.rmtree(tiny.home.releases / tiny.id_of("v3"))
    tiny.start()
    tiny.wait_for_version("v3")
    tiny.wait_until_quiet()
    assert rows(tiny) == 10


def test_a_half_gone_release_is_left_by_a_rollback(tiny: Tiny) -> None:
    shutil.rmtree(tiny.home.current / "app")
    tiny.start()
    tiny.wait_for(lambda: control.is_running(tiny.home), "the supervisor runs")
    doctor = tiny.command("doctor")
    assert doctor.returncode == 1
    back = tiny.command("rollback", "--wait")
    assert back.returncode == 0 or "crashing" in tiny.events(), back  # or it was so by itself
    tiny.wait_for_version("v1")


def test_an_environment_without_its_python_is_built_anew(tiny: Tiny) -> None:
    for python in tiny.home.environments.glob("*/bin/python*"):
        python.unlink()
    tiny.start()
    tiny.wait_for(lambda: control.is_running(tiny.home), "the supervisor runs")
    again = tiny.command("update", "--to", "v2", "--wait")
    assert again.returncode == 0, again
    tiny.wait_for_version("v2")
    assert "in use already" in tiny.command("update", "--to", "v2", "--wait").stdout


def test_a_corrupt_mirror_is_fetched_anew(tiny: Tiny) -> None:
    for pack in tiny.home.mirror.glob("objects/pack/*"):
        pack.chmod(0o644)
        pack.write_bytes(b"rubbish")
    (tiny.home.mirror / "HEAD").write_bytes(b"\0\0")
    tiny.start()
    tiny.wait_for_version("v2")
    done = tiny.command("update", "--to", "v3", "--wait")
    assert done.returncode == 0, done
    assert tiny.version() == "v3"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_snapshot_deleted_before_the_rollback_is_broken_and_nothing_pretends(
    tiny: Tiny,
) -> None:
    tiny.repository.release("slow", "hangs", schema=2, follow=False)
    tiny.configure("[gate]\nhold = 0.5")
    tiny.start()
    tiny.wait_for_version("v2")
    before = len(tiny.events())
    update = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "update", "--to", "slow", "--wait",
         "--home", str(tiny.home.root)],
        env=tiny.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    tiny.wait_for(lambda: "started" in tiny.events()[before:], "the bad release is judged")
    shutil.rmtree(tiny.home.backups / "in_flight")
    (tiny.home.data / "rows.db").touch()
    out, err = update.communicate(timeout=100)
    assert update.returncode in {ExitCode.BROKEN, ExitCode.ROLLED_BACK}, (out, err)
    if update.returncode == ExitCode.ROLLED_BACK:  # it was pinned: nothing that is gone was needed
        tiny.wait_for_version("v2")
        assert rows(tiny) == 10
        return
    assert "broken" in tiny.command("status").stdout
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(f"http://127.0.0.1:{tiny.port}/", timeout=20)
        assert answer.value.code == http.HTTPStatus.SERVICE_UNAVAILABLE
        assert "Not available right now" in answer.value.read().decode()
        again = tiny.command("rollback", "--wait")
        assert again.returncode == ExitCode.BROKEN
    newest = tiny.command("backups", "--json").stdout.split('"name":"')[1].split('"')[0]
    mended = tiny.command("restore", newest, "--wait")
    assert mended.returncode == ExitCode.ROLLED_BACK, mended
    tiny.wait_for_version("v2")
    assert rows(tiny) == 10


def test_a_clock_that_was_set_back_stops_nothing(tiny: Tiny) -> None:
    """What is on disk is from the future."""
    for file in (tiny.home.history, tiny.home.ledger):
        text = file.read_text()
        file.write_text(re.sub(r'"20\d\d-', '"2090-', text))
    for file in list(tiny.home.backups.glob("20*")):
        file.rename(file.with_name(f"2090{file.name[4:]}"))
    tiny.start()
    tiny.wait_for_version("v2")
    done = tiny.command("update", "--to", "v3", "--wait")
    assert done.returncode == 0, done
    bad = tiny.command("update", "--to", "ill", "--wait")
    assert bad.returncode == ExitCode.ROLLED_BACK
    assert tiny.command("history").returncode == 0
    assert "clock" in tiny.command("doctor").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk needs root to be mounted")
def test_a_full_disk_is_refused_before_anything_is_touched(tiny: Tiny) -> None:
    """On a small disk of its own, all that an update writes would not fit."""
    root = tiny.home.root
    shutil.rmtree(root)
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(root)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["cp", "-a", f"{root.parent / 'template'}/.", str(root)], check=True)
        tiny.start()
        tiny.wait_for_version("v2")
        pid = tiny.said()["pid"]
        done = tiny.command("update", "--to", "v3", "--wait")
        assert done.returncode == ExitCode.ABANDONED
        assert "MB free, and the update may need" in done.stdout
        assert tiny.said() == {"version": "v2", "pid": pid}
        assert rows(tiny) == 10
    finally:
        tiny.stop()
        tiny.kill_all()
        subprocess.run(["umount", "-l", str(root)], check=True)


def test_a_second_supervisor_is_kept_out(tiny: Tiny) -> None:
    tiny.start()
    tiny.wait_for_version("v2")
    second = tiny.command("run")
    assert second.returncode == ExitCode.REFUSED
    assert_one_sentence(second.stderr)
    assert tiny.version() == "v2"


@pytest.fixture
def engine_python(tiny: Tiny, tmp_path: Path) -> Path:
    """What starts the engine, in a place where it can vanish."""
    python = tmp_path / "engine" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    tiny.python = str(python)
    return python


def test_without_its_own_environment_the_app_goes_on_and_it_is_said(
    tiny: Tiny, engine_python: Path
) -> None:
    tiny.start()
    tiny.wait_for_version("v2")
    engine_python.unlink()
    done = tiny.command("update", "--to", "v3", "--wait")
    assert done.returncode == ExitCode.FAILED
    assert_one_sentence(done.stderr)
    assert not tiny.home.request.exists()
    assert "cannot be started: no updates until it can" in tiny.log_tail()
    assert tiny.version() == "v2"


def test_without_its_own_environment_the_app_starts(tiny: Tiny, engine_python: Path) -> None:
    engine_python.unlink()
    tiny.start()
    tiny.wait_for_version("v2")


def test_gone_before_the_app_was_touched_it_serves_all_the_same(
    tiny: Tiny, engine_python: Path
) -> None:
    tiny.start()
    tiny.wait_for_version("v2")
    update = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "update", "--to", "v3", "--wait",
         "--home", str(tiny.home.root)],
        env=tiny.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    tiny.wait_for(tiny.home.lock.exists, "an update is in flight")
    for pid, line in tiny.processes().items():
        if " engine " in line:
            os.kill(pid, signal.SIGKILL)
    state = tiny.home.lock.read_text()
    tiny.kill_all()
    update.kill()
    update.wait()
    engine_python.rename(engine_python.with_name("gone"))
    tiny.start()
    if '"state":"requested"' in state or '"state":"staged"' in state:
        tiny.wait_for_version("v2")
    tiny.wait_for(lambda: "cannot be started" in tiny.log_tail(), "it is said")
    engine_python.with_name("gone").rename(engine_python)
    tiny.wait_until_quiet()
    tiny.wait_for_version("v3")
    assert rows(tiny) == 10
