from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.releases import programs

from surefoot.config import Build
from surefoot.errors import BuildError
from surefoot.releases import run_build_commands

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "releases" / "0123456789ab" / "app"
    folder.mkdir(parents=True)
    return folder


def test_commands_run_in_the_code_one_after_another(code: Path) -> None:
    told: list[str] = []
    build = Build(commands=["echo $A > one", "cat one && printf second"], timeout_s=60)
    output = run_build_commands(build, code, dict(os.environ) | {"A": "first"}, told.append)
    assert output == "first\nsecond"
    assert told == ["$ echo $A > one", "$ cat one && printf second", "first", "second"]


def test_a_failing_command_is_told_with_its_output_and_ends_the_build(code: Path) -> None:
    build = Build(commands=["echo Error: no node; exit 3", "touch never"], timeout_s=60)
    with pytest.raises(BuildError, match=r"ended with 3: no node\.") as raised:
        run_build_commands(build, code, dict(os.environ), lambda _: None)
    assert raised.value.output == "Error: no node\n"
    assert not (code / "never").exists()


def test_a_command_that_hangs_is_ended_with_all_it_started(code: Path) -> None:
    build = Build(commands=["sleep 300 & echo $! > pid; wait"], timeout_s=1)
    with pytest.raises(BuildError, match="did not end within 1 seconds"):
        run_build_commands(build, code, dict(os.environ), lambda _: None)
    assert programs.ends(int((code / "pid").read_text()))


def test_a_daemon_left_behind_does_not_hold_up_the_build(code: Path) -> None:
    build = Build(commands=["sleep 300 & echo done"], timeout_s=60)
    assert run_build_commands(build, code, dict(os.environ), lambda _: None) == "done\n"
