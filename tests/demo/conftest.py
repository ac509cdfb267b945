from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from tests.examples.conftest import history
from tests.examples.running import Running, check_out

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.demo.sample import History

__all__ = ["history"]


@pytest.fixture(scope="session")
def empty_database(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as v1.2 wants it, with no notes in it. It is for copying."""
    release = check_out(history, "v1.2", tmp_path_factory.mktemp("empty") / "app")
    assert release.migrate().returncode == 0
    return release.database


@pytest.fixture(scope="module")
def notes(
    history: History, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Release v1.2, serving."""
    release = check_out(history, "v1.2", tmp_path_factory.mktemp("notes") / "app")
    shutil.copy(empty_database, release.database)
    with release.serving() as running:
        yield running
