import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.databases.postgresql_server import postgresql, postgresql_server

__all__ = ["postgresql", "postgresql_server"]


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where fsync costs nothing, for what a killed process leaves: the kernel keeps it."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=memory))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
