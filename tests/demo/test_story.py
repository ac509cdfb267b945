from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from surefoot.demo import story
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert story.main(short=True, keep=False, folder=tmp_path) == ExitCode.USAGE
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


@pytest.mark.system
@pytest.mark.slow  # CI plays it by its command
@pytest.mark.timeout(400)
def test_the_short_story_goes_as_it_must(tmp_path: Path) -> None:
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from surefoot.demo import story;"
            "sys.exit(story.main(True, False, Path(sys.argv[1])))",
            str(tmp_path / "demo"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "every one is there" in told.stdout
    assert "\x1b" not in told.stdout
