from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from surefoot.demo import wheels
from surefoot.demo.sample import make_history

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.demo.sample import History


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """The sample app's repository, with every release published."""
    return make_history(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Surefoot's own."""
    return wheels.surefoot_wheel(tmp_path_factory.mktemp("wheel"))
