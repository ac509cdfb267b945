"""What can be told of a release's code by looking for a word in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CODE = (".py", ".ini", ".toml", ".cfg", ".yaml", ".yml", ".json", ".sh", ".sql")
_NOT_CODE = {"node_modules", "__pycache__", ".git"}


def mentions(code: Path, variable: str) -> bool:
    """Whether the name stands in a file that could read it, in whatever case: settings classes
    write it small."""
    wanted = variable.lower().encode()
    for folder, folders, names in os.walk(code):
        folders[:] = [name for name in folders if name not in _NOT_CODE]
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            if name.endswith(_CODE) and not os.path.islink(path):  # noqa: PTH114
                with open(path, "rb") as file:  # noqa: PTH123
                    if wanted in file.read().lower():
                        return True
    return False
