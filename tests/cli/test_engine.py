"""The engine's commands, as the supervisor calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from surefoot.errors import ExitCode
from surefoot.update.lock import only_engine

if TYPE_CHECKING:
    from tests.cli.conftest import Commands


@pytest.mark.parametrize("verb", ["resume", "crashed"])
def test_with_nothing_to_do_it_ends_with_0(run: Commands, verb: str) -> None:
    assert run("engine", verb).code == ExitCode.OK


@pytest.mark.parametrize("verb", ["update", "resume", "crashed"])
def test_two_engines_are_never_at_work_at_once(run: Commands, verb: str) -> None:
    with only_engine(run.home):
        answer = run("engine", verb)

    assert answer.code == ExitCode.REFUSED
    assert "Another update is in flight." in answer.err


def test_a_wrong_configuration_is_the_exit_code_for_it(run: Commands) -> None:
    (run.home.root / "surefoot.toml").write_text("[app")

    assert run("engine", "resume").code == ExitCode.CONFIGURATION
