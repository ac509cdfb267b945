"""Which home is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from surefoot.cli.main import surefoot
from surefoot.errors import ExitCode


def home_of(arguments: list[str], environment: str = "") -> Path:
    result = CliRunner().invoke(
        surefoot, ["status", "--json", *arguments], env={"SUREFOOT_HOME": environment}
    )
    assert result.exit_code == 0, result.stderr
    return Path(result.stdout.split('"home":"')[1].split('"')[0])


@pytest.fixture
def nested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a folder in it, which is where we are."""
    root = tmp_path.resolve() / "home"
    (root / "a" / "b").mkdir(parents=True)
    (root / "surefoot.toml").touch()
    monkeypatch.chdir(root / "a" / "b")
    return root


def test_the_nearest_folder_upwards_that_is_a_home(nested: Path) -> None:
    assert home_of([]) == nested


def test_the_environment_goes_before_the_folder_we_are_in(nested: Path, tmp_path: Path) -> None:
    assert nested
    assert home_of([], str(tmp_path)) == tmp_path.resolve()


def test_the_option_goes_before_the_environment(nested: Path, tmp_path: Path) -> None:
    assert home_of(["--home", str(nested)], str(tmp_path)) == nested


def test_without_a_home_anywhere_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert home_of([]) == tmp_path.resolve()


def test_a_home_that_is_no_folder_is_a_slip_of_the_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(surefoot, ["status", "--home", str(tmp_path / "none")])

    assert result.exit_code == ExitCode.USAGE
    assert "is not a folder" in result.stderr
