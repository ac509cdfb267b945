"""The root: help that teaches, errors in one line, and exit codes that are documented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from surefoot.cli import main
from surefoot.errors import ExitCode, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Commands

SOURCE = Path(main.__file__).parents[2]
REFERENCE = SOURCE.parent / "docs" / "reference" / "command-line.md"


def _paths() -> Iterator[str]:
    """Every command, as it is typed."""
    for name in main._COMMANDS:
        yield name
        command = main.surefoot.get_command(click.Context(main.surefoot), name)
        if isinstance(command, click.Group):
            yield from (f"{name} {sub}" for sub in command.commands)


PATHS = list(_paths())


@pytest.mark.parametrize("path", PATHS)
def test_the_help_of_every_command_has_an_example(run: Commands, path: str) -> None:
    answer = run.plain(*path.split(), "--help")

    assert answer.code == 0
    assert "Example" in answer.out
    assert f"surefoot {path}" in answer.out.split("Example")[1]


@pytest.mark.parametrize("path", PATHS)
def test_every_command_and_option_is_in_the_reference(path: str) -> None:
    if path.startswith("engine"):
        return
    command = main.surefoot.get_command(click.Context(main.surefoot), path)
    assert command is not None
    if command.hidden:
        return
    text = REFERENCE.read_text().split(f"\n## `surefoot {path}`")[1].split("\n## ")[0]
    options = [o for p in command.params for o in p.opts if o.startswith("--")]
    for option in set(options) - {"--home", "--json", "--help"}:
        assert f"`{option}" in text, option


def test_every_exit_code_is_in_the_help_and_in_the_reference(run: Commands) -> None:
    shown, reference = run.plain("--help").out, REFERENCE.read_text()

    for code in ExitCode:
        assert f"{int(code):>3}  {main.MEANINGS[code]}" in shown
        assert f"| {int(code)} |" in reference


def test_every_command_that_works_on_a_home_takes_home() -> None:
    for path in PATHS:
        group, _, sub = path.partition(" ")
        command = main.surefoot.get_command(click.Context(main.surefoot), group)
        if sub and isinstance(command, click.Group):
            command = command.commands[sub]
        if command is not None and path not in {"demo", "engine"}:
            assert "--home" in [o for p in command.params for o in p.opts], path


def test_the_engine_is_hidden_from_people(run: Commands) -> None:
    assert "  engine" not in run.plain("--help").out


def test_a_misspelt_command_is_answered_with_the_right_one(run: Commands) -> None:
    answer = run.plain("stauts")

    assert answer.code == ExitCode.USAGE
    assert answer.err.startswith("surefoot: There is no command `stauts`. Did you mean `status`?")
    assert len(answer.err.splitlines()) == 1


def test_a_misspelt_option_is_one_line_with_the_way_to_the_help(run: Commands) -> None:
    answer = run.plain("status", "--jsn")

    assert answer.code == ExitCode.USAGE
    assert answer.err.startswith("surefoot: ")
    assert "See `surefoot status --help`." in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_typo_in_the_configuration_gives_line_fault_and_remedy(run: Commands) -> None:
    file = run.home.root / "surefoot.toml"
    file.write_text(file.read_text() + "[health]\ndeadlin = 3\n")

    answer = run("check")

    assert answer.code == ExitCode.CONFIGURATION
    assert answer.out == ""
    assert f"surefoot: {file}, line 10: `deadlin` is not a key of [health]." in answer.err
    assert "Did you mean `deadline`?" in answer.err


def test_an_error_of_ours_is_its_sentence_and_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main._told(RefusedError("No.", next_step="Ask\nlater."))

    assert code == ExitCode.REFUSED
    assert capsys.readouterr().err == "surefoot: No. Ask later.\n"


def test_a_bug_is_one_line_that_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUREFOOT_DEBUG", raising=False)

    code = main._told(KeyError("x"))

    said = capsys.readouterr().err
    assert code == ExitCode.FAILED
    assert "surefoot: KeyError: 'x'. This is a bug in Surefoot" in said
    assert len(said.splitlines()) == 1


def test_the_place_of_a_bug_is_shown_on_demand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_DEBUG", "1")
    try:
        os.environ["NO_SUCH_VARIABLE"]
    except KeyError as error:
        main._told(error)

    assert "Traceback" in capsys.readouterr().err


def test_without_the_engine_the_command_says_what_to_install() -> None:
    start = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import surefoot.__main__ as m; m.main()"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start], capture_output=True, text=True, check=False
    )

    assert done.returncode == ExitCode.FAILED
    assert done.stderr.startswith("surefoot: The command line needs click")
    assert 'Install "surefoot[engine]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_can_be_run_as_a_module_in_isolation() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "surefoot", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.startswith("surefoot ")


def test_a_reader_that_has_seen_enough_is_no_error(run: Commands) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "surefoot", "status", "--home", run.home.root],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["engine", "--help"], ["status", "--help"]])
def test_what_an_update_starts_imports_nothing_heavy(arguments: list[str]) -> None:
    watch = (
        "import sys, atexit; atexit.register(lambda: print(sorted(set(sys.modules) & "
        "{'rich', 'fastapi', 'sqlalchemy', 'surefoot.update.engine', 'asyncio'})));"
        f"sys.argv = ['surefoot', *{arguments!r}]; from surefoot.__main__ import main; main()"
    )

    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
