from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.releases.remote import Remote

from surefoot.home import Home

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    root = (tmp_path / "home").resolve()
    (root / "data").mkdir(parents=True)
    return Home(root)
