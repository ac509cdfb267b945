"""What the documents tell a reader to type is there, and does what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from tests.examples.conftest import history
from tests.system.conftest import PATIENCE_S, wait_until

from surefoot import config
from surefoot.cli.main import surefoot as root
from surefoot.demo import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.demo.sample import History

__all__ = ["history"]

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]


def blocks(document: Path, language: str) -> list[str]:
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(document: Path) -> list[list[str]]:
    """Every line of every shell block, as words, without its comment."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_shown_exists(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert isinstance(root, click.Group)
    context = click.Context(root)
    for words in commands(document):
        if words[0] == "make":
            assert words[1] in targets, words
        elif words[0] == "surefoot":
            command = root.get_command(context, words[1])
            assert command is not None, words
            known = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= known, words


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    [text] = blocks(ROOT / "docs" / "guide" / "running.md", "ini")
    here = {"/usr/local/bin/surefoot": "/bin/true", "/srv/notes": str(tmp_path)}
    for there, found in here.items():
        assert there in text
        text = text.replace(there, found)
    unit = tmp_path / "notes.service"
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_both_readmes_show_the_same_commands() -> None:
    assert commands(ROOT / "README.md") == commands(ROOT / "README.zh-CN.md")
    assert blocks(ROOT / "README.md", "toml") == blocks(ROOT / "README.zh-CN.md", "toml")


def test_the_smallest_configuration_of_the_readme_works() -> None:
    [text] = blocks(ROOT / "README.md", "toml")
    assert config.parse(text).address() == "127.0.0.1:8000"


@contextmanager
def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def test_a_new_user_gets_an_app_running_and_updated(history: History, tmp_path: Path) -> None:
    """The README's "Use it on your app", line by line, with the installed package."""
    [_, use] = blocks(ROOT / "README.md", "sh")
    assert re.findall(r"^(?:surefoot \w+|\S+)", use, re.MULTILINE) == [
        "uv", "mkdir", "surefoot init", "$EDITOR", "surefoot doctor", "surefoot run",
        "surefoot update",
    ]  # fmt: skip
    tool, home = tmp_path / "tool", tmp_path / "notes"
    uv = str(Path(sys.executable).with_name("uv"))
    wheel = next(history.wheels.glob("surefoot-*.whl"))
    subprocess.run([uv, "venv", "--quiet", str(tool)], check=True)
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", str(tool / "bin/python"),
         f"surefoot[engine] @ {wheel.as_uri()}"], check=True,
    )  # fmt: skip
    surefoot = str(tool / "bin/surefoot")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SUREFOOT_")}
    environment |= history.environment

    def type_in(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [surefoot, *words], cwd=home, env=environment, text=True, capture_output=True,
            check=False, timeout=100,
        )  # fmt: skip

    home.mkdir()
    history.git("push", "--quiet", "--force", str(history.remote),
                f"{history.commits['v1.0']}:refs/heads/main")  # fmt: skip
    made = type_in("init", "--git", str(history.remote))
    assert made.returncode == 0, made
    file = home / "surefoot.toml"
    written = file.read_text()
    assert 'path = "/health"' in written
    # The editor: a port that is free on this machine.
    port = free_port()
    file.write_text(re.sub(r"\b8000\b", str(port), written))
    examined = type_in("doctor")
    assert examined.returncode == 0, examined
    with running([surefoot, "run"], home, environment):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url) == "1.0", "v1.0 serves")
        history.git("push", "--quiet", str(history.remote),
                    f"{history.commits['v1.1']}:refs/heads/main")  # fmt: skip
        updated = type_in("update", "--wait")
        assert updated.returncode == 0, updated
        assert answers(url) == "1.1"


def answers(url: str) -> str | None:
    try:
        status, found = client.get(url, "/api/version", timeout_s=PATIENCE_S)
    except OSError:
        return None
    return str(found["version"]) if status == 200 else None


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
