"""Programs that tests start and that no Python package brings."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def program(name: str, package: str) -> Path:
    """Where it is. A test that needs it is skipped where it is not installed, but fails in CI,
    which installs `package`."""
    versioned = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    if versioned:
        return versioned[0]
    if found := shutil.which(name):
        return Path(found)
    message = f"{name} is not installed: apt-get install {package}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
