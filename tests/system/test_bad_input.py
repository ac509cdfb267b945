"""What somebody got wrong: one clear sentence, a documented exit code, and the app runs on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.tiny import Repository, Tiny, assert_one_sentence

from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    folder = tmp_path_factory.mktemp("badinput")
    repository = Repository(folder / "source")
    repository.release("v1")
    repository.release("v2", follow=False)
    tiny = Tiny(folder, repository)
    try:
        tiny.start()
        tiny.wait_for_version("v1")
        tiny.wait_until_quiet()
        yield tiny
        tiny.stop()
        tiny.wait_for(lambda: not tiny.processes(), "nothing is left behind")
    finally:
        tiny.kill_all()
        sys.stdout.write(tiny.log_tail(300))


@pytest.fixture
def tiny(running: Tiny) -> Iterator[Tiny]:
    """The app that runs; after the test it is the same process, and nothing is in flight."""
    before: dict[str, Any] = running.said()
    assert before["version"] == "v1"
    yield running
    running.configure()
    running.wait_until_quiet()
    assert running.said() == before
    assert not running.home.request.exists()


def test_an_unknown_ref(tiny: Tiny) -> None:
    done = tiny.command("update", "--to", "v1.0.1", "--wait")
    assert done.returncode == ExitCode.ABANDONED
    assert "There is no tag, branch or commit 'v1.0.1'" in done.stdout
    assert_one_sentence("surefoot: " + done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize(
    "ref", ["-x", "--upload-pack=touch /tmp/x", "a b", "é", "HEAD~1", "x" * 300]
)
def test_a_ref_that_can_be_none(tiny: Tiny, ref: str) -> None:
    done = tiny.command("update", f"--to={ref}", "--wait")
    assert done.returncode in {ExitCode.ABANDONED, ExitCode.REFUSED}, done
    assert "Traceback" not in done.stdout + done.stderr


def test_a_remote_that_cannot_be_reached(tiny: Tiny) -> None:
    toml = tiny.home.root / "surefoot.toml"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/app.git"
        toml.write_text(toml.read_text().replace(str(tiny.repository.remote), url))
        done = tiny.command("update", "--wait")
        checked = tiny.command("check")
    assert done.returncode == ExitCode.ABANDONED
    last = done.stdout.strip().splitlines()[-1]
    assert "cannot be used" in last
    assert "The app was not touched." in last
    assert checked.returncode == ExitCode.FAILED
    assert_one_sentence("\n".join(checked.stderr.splitlines()[1:]))


def test_a_typo_in_the_configuration(tiny: Tiny) -> None:
    toml = tiny.home.root / "surefoot.toml"
    toml.write_text(toml.read_text().replace("stop_grace", "stop_grase"))
    for command in (
        ("update", "--wait"),
        ("rollback",),
        ("check",),
        ("run",),
        ("update", "--json"),
    ):
        done = tiny.command(*command)
        assert done.returncode == ExitCode.CONFIGURATION, (command, done)
        said = done.stderr or f"surefoot: {done.stdout}"
        assert_one_sentence(said)
        assert "`stop_grase` is not a key of [app]. Did you mean `stop_grace`?" in said
        assert "line 5" in said


def test_a_typo_that_came_while_the_request_waited(tiny: Tiny) -> None:
    """Whoever waits is answered by the engine, which cannot begin."""
    from surefoot import control
    from surefoot.update import requests

    toml = tiny.home.root / "surefoot.toml"
    toml.write_text(toml.read_text().replace("[health]", "[helth]"))
    request = requests.Request()
    requests.put(tiny.home, request)
    control.send(tiny.home, "update")
    tiny.wait_for(lambda: tiny.events(request.id) == ["refused"], "it is answered")


def test_a_repository_without_requirements(tiny: Tiny) -> None:
    toml = tiny.home.root / "surefoot.toml"
    toml.write_text(toml.read_text().replace('dependencies = "none"', ""))
    done = tiny.command("update", "--to", "v2", "--wait")
    assert done.returncode == ExitCode.ABANDONED
    last = done.stdout.strip().splitlines()[-1]
    assert "no uv.lock, pylock.toml, requirements.txt or pyproject.toml" in last
    assert 'dependencies = "none"' in last


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", ["data", "run", "releases"])
def test_a_home_that_cannot_be_written(tiny: Tiny, name: str) -> None:
    folder = tiny.home.root / name
    folder.chmod(0o500)
    try:
        done = tiny.command("update", "--to", "v2", "--wait")
    finally:
        folder.chmod(0o755)
    assert done.returncode in {ExitCode.FAILED, ExitCode.ABANDONED, ExitCode.REFUSED}, done
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_home_on_a_read_only_disk(tiny: Tiny) -> None:
    root = str(tiny.home.root)
    script = f"""
    mount --bind {root} {root} && mount -o remount,ro,bind {root} || exit 99
    "$@" update --to v2 --wait --home {root}; echo "update $?"
    "$@" status --home {root} >/dev/null; echo "status $?"
    "$@" run --home {root}; echo "run $?"
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "surefoot"],
        env=tiny.environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    assert "status 0" in done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 2, lines
    for line in lines:
        assert_one_sentence(line)
    assert "Read-only file system" in done.stderr


def test_a_port_in_use(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Tiny(tmp_path_factory.mktemp("badinput"), tiny.repository)
    other.port = tiny.port
    other.configure()
    done = other.command("run")
    assert done.returncode == ExitCode.REFUSED
    assert_one_sentence(done.stderr)
    assert "Address already in use" in done.stderr
    assert other.processes() == {}


def test_a_home_that_is_none(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("badinput")
    for verb in ("run", "update", "check"):
        done = subprocess.run(
            [sys.executable, "-m", "surefoot", verb, "--home", str(empty)],
            env=tiny.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode in {ExitCode.CONFIGURATION, ExitCode.NOT_RUNNING}
        assert_one_sentence(done.stderr)


def test_a_pipe_that_is_no_pipe_any_more(tiny: Tiny) -> None:
    pipe = tiny.home.control
    pipe.rename(pipe.with_name("kept"))
    try:
        pipe.write_text("")
        done = tiny.command("update", "--wait")
    finally:
        pipe.unlink()
        pipe.with_name("kept").rename(pipe)
    assert done.returncode == ExitCode.NOT_RUNNING
    assert_one_sentence(done.stderr)
    assert "not the supervisor's pipe" in done.stderr
