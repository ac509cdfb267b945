"""Starting: refused before anything, where it cannot work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from tests.cli.conftest import Commands


def test_a_wrong_configuration_is_refused_before_anything(run: Commands) -> None:
    file = run.home.root / "surefoot.toml"
    file.write_text(file.read_text().replace("command =", "comand ="))

    answer = run("run")

    assert answer.code == ExitCode.CONFIGURATION
    assert "line 4: `comand` is not a key of [app]. Did you mean `command`?" in answer.err
    assert not run.home.run.exists()


@pytest.mark.usefixtures("supervisor")
def test_a_second_supervisor_is_refused(run: Commands) -> None:
    answer = run("run")

    assert answer.code == ExitCode.REFUSED
    assert "Another supervisor runs the app" in answer.err
