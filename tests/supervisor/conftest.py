from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.supervisor import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHELLS = ["dash", "busybox sh", "bash --posix", "mksh", "busybox alone"]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[running.Supervised]:
    """A home whose supervisor runs in this system's own sh."""
    made = running.make(tmp_path)
    yield made
    made.clean_up()


@pytest.fixture(params=SHELLS)
def in_each_shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[running.Supervised]:
    """The same, once for each shell that the supervisor is written for."""
    if not running.is_installed(request.param):
        pytest.skip(f"{request.param} is not installed here")
    made = running.make(tmp_path, request.param.replace("alone", "sh"))
    if request.param == "busybox alone":  # as in a small container: no GNU tools
        made.settings["PATH"] = running.install_busybox(tmp_path / "bin")
    yield made
    made.clean_up()
