"""Files that are somebody else's, or that may not be read: it is said in words, and nothing is
lost. Root may read everything, so as root this runs once more without that right."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.damage.test_files import FILES, READERS
from tests.damage.test_lock import ROWS

from surefoot.errors import ExitCode, SurefootError
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.damage.conftest import Place

DAC_OVERRIDE = 1 << 1
NOBODY = 65534
RIGHTS = "-dac_override,-dac_read_search"


def may_read_everything() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective, 16) & DAC_OVERRIDE)


limited = pytest.mark.skipif(may_read_everything(), reason="nothing is unreadable to root")


def unreadable(file: Path) -> None:
    file.chmod(0)


def of_another(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    file.chmod(0o600)
    os.chown(file, NOBODY, NOBODY)


HOW = pytest.mark.parametrize("how", [unreadable, of_another], ids=lambda how: how.__name__)
THERE = sorted(FILES.keys() - {"request", "current", "busy", "postponed", "control", "snapshots"})


def damaged(place: Place, name: str, how: Callable[[Path], None]) -> Path:
    file = FILES[name](place.home)
    file.parent.mkdir(exist_ok=True)
    file.touch()
    how(file)
    return file


@limited
@HOW
@pytest.mark.parametrize("name", THERE)
def test_whoever_looks_is_told(place: Place, name: str, how: Callable[[Path], None]) -> None:
    place.restore(State.MIGRATED if name == "lock" else None)
    damaged(place, name, how)
    for command in (*READERS, ("doctor",)):
        code, _, err = place.cli(*command)
        assert code in {ExitCode.OK, ExitCode.FAILED, ExitCode.CONFIGURATION}, (command, err)


@limited
@HOW
@pytest.mark.parametrize("name", sorted({*THERE} - {"configuration", ".env"}))
def test_the_engine_ends_with_a_whole_release_and_every_row(
    place: Place, name: str, how: Callable[[Path], None]
) -> None:
    place.restore(State.MIGRATED if name == "lock" else None)
    damaged(place, name, how)
    for verb in ("resume", "update"):
        with contextlib.suppress(SurefootError, OSError):  # which the command line says in words
            place.engine(verb)
    schema, rows = place.rows()
    assert rows == ROWS
    used = place.home.current.readlink().name
    assert (used, schema) in {(place.tiny.id_of("v2"), 1), (place.tiny.id_of("v3"), 2)}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not may_read_everything(), reason="it has been run already")
def test_all_of_it_for_one_who_may_not_read_everything() -> None:
    try:
        done = subprocess.run(
            ["setpriv", "--bounding-set", RIGHTS, "--inh-caps", RIGHTS,
             sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("setpriv is not installed")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
