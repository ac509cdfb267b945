"""A few cuts of the power; `make power-test` makes 500."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 6


@pytest.mark.timeout(600)
def test_whatever_moment_the_power_goes_at_the_app_is_whole_afterwards() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    done = subprocess.run(
        [sys.executable, "-m", "tests.power", "--rounds", str(ROUNDS)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 2:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost rows" in done.stdout
