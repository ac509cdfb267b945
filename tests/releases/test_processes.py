from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from surefoot import config
from surefoot.errors import ConfigurationError, StageError
from surefoot.releases import command_environment, write_processes

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.home import Home

TEXT = """
[app]
directory = "backend"
[app.processes]
web = "{command}"
worker = "exec python -c pass"
[app.environment]
GREETING = "it's $HOME; \\"quoted\\""
[database.main]
url = "sqlite:///data/app.db"
variable = "DATABASE_URL"
[database.other]
url = "sqlite:////var/lib/other.db"
variable = "OTHER_URL"
[source]
git = "x"
"""


@pytest.fixture
def folder(home: Home) -> Path:
    folder = home.releases / "0123456789ab"
    (folder / "app/backend").mkdir(parents=True)
    (folder / "venv/bin").mkdir(parents=True)
    tool = folder / "venv/bin/tool"
    tool.write_text('#!/bin/sh\necho tool "$@"; echo "pid $$"; pwd -P; env\n')
    tool.chmod(0o755)
    return folder


def parsed(command: str = "tool", *, more: str = "") -> config.Config:
    return config.parse(TEXT.format(command=command) + more)


def started(
    folder: Path, home: Home, command: str = "tool", **variables: str
) -> tuple[list[str], dict[str, str]]:
    """Runs the script of `web`; the first lines of what it prints, and its environment."""
    write_processes(folder, home, parsed(command))
    done = subprocess.run(
        [folder / "processes/web"],
        env={"PATH": os.environ["PATH"], "HOME": "/h"} | variables,
        cwd="/", capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    return lines[:3], dict(line.split("=", 1) for line in lines[3:] if "=" in line)


def test_the_process_finds_its_release_and_its_settings(folder: Path, home: Home) -> None:
    lines, variables = started(folder, home, "tool 'a b' \\\"c\\\"", NOTIFY_SOCKET="/of/systemd")
    assert lines[0] == "tool a b c"
    assert lines[2] == str(folder / "app/backend")
    assert variables["SUREFOOT_RELEASE"] == "0123456789ab"
    assert variables["SUREFOOT_PROCESS"] == "web"
    assert variables["VIRTUAL_ENV"] == str(folder / "venv")
    assert variables["PATH"].split(":")[0] == str(folder / "venv/bin")
    assert variables["GREETING"] == 'it\'s $HOME; "quoted"'
    assert variables["DATABASE_URL"] == f"sqlite:///{home.root}/data/app.db"
    assert variables["OTHER_URL"] == "sqlite:////var/lib/other.db"
    assert "LISTEN_PID" not in variables
    assert "NOTIFY_SOCKET" not in variables


def test_the_command_becomes_the_process_that_the_sockets_are_for(folder: Path, home: Home) -> None:
    lines, variables = started(folder, home, LISTEN_FDS="1")
    assert lines[1] == f"pid {variables['LISTEN_PID']}" == f"pid {variables['SUREFOOT_PID']}"


def test_each_process_has_a_script_and_old_ones_go(folder: Path, home: Home) -> None:
    (folder / "processes").mkdir()
    (folder / "processes/gone").write_text("")
    write_processes(folder, home, parsed())
    assert sorted(path.name for path in (folder / "processes").iterdir()) == ["web", "worker"]
    subprocess.run(["sh", "-n", folder / "processes/worker"], check=True)


def test_a_wish_to_be_notified_is_passed_on(folder: Path, home: Home) -> None:
    write_processes(folder, home, parsed(more="[health]\nnotify = true\n"))
    assert f"NOTIFY_SOCKET={home.run}/notify" in (folder / "processes/web").read_text()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("A=1 tool x", "tool x"),
        ("exec tool x", "tool x"),
        ("tool $(echo a; echo b)", "tool a b"),
        ("tool 'a;b' \\\"c && d\\\" e\\\\;f", "tool a;b c && d e;f"),
        ("tool x 2>&1 </dev/null", "tool x"),
        ("tool $HOME", "tool /h"),
    ],
)
def test_one_command_in_the_shells_language_is_understood(
    folder: Path, home: Home, command: str, said: str
) -> None:
    lines, _ = started(folder, home, command)
    assert lines[0] == said


@pytest.mark.parametrize(
    "command", ["a && b", "a; b", "a | b", "a & b", "a &", "(a)", "a || b", "a\\nb", "$(a) | b"]
)
def test_several_commands_are_refused_with_the_way_out(
    folder: Path, home: Home, command: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"sh -c|quotation"):
        write_processes(folder, home, parsed(command))


@pytest.mark.parametrize("command", ["'a", "  ", "exec "])
def test_what_is_no_command_is_refused(folder: Path, home: Home, command: str) -> None:
    with pytest.raises(ConfigurationError):
        write_processes(folder, home, parsed(command))


def test_a_folder_that_the_release_does_not_have_is_refused(folder: Path, home: Home) -> None:
    (folder / "app/backend").rmdir()
    with pytest.raises(StageError, match="backend"):
        write_processes(folder, home, parsed())


def test_build_commands_get_the_same_environment(folder: Path, home: Home) -> None:
    _, variables = started(folder, home)
    made = command_environment(folder, home, parsed(), base={"PATH": os.environ["PATH"]})
    same = ["PATH", "VIRTUAL_ENV", "DATABASE_URL", "GREETING", "SUREFOOT_RELEASE"]
    assert [made[name] for name in same] == [variables[name] for name in same]
