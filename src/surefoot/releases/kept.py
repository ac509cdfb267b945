"""What belongs to the user: it lives in the home and is linked into every release.

What a release ships under such a name never overwrites what the home has. Only where the home has
none, or before the first release was ever in use, what is shipped goes into the home.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.errors import StageError

if TYPE_CHECKING:
    from surefoot.home import Home

_FOLDERS = {"data", "logs", "temp", "sessions"}


def link(code: Path, home: Home, paths: list[str], *, first: bool) -> None:
    """Links each of `paths` from the home into `code`, by a relative symlink.

    A folder that is missing in the home is made. A file that is missing is linked all the same:
    what the app writes there then lies in the home. `first`: no release was in use yet.
    Raises StageError where the release has a symlink in the way.
    """
    for path in sorted(paths, key=lambda path: len(Path(path).parts)):
        shipped, users = code / path, home.root / path
        if not _is_reachable(code, shipped, home):
            continue
        if shipped.is_symlink() and _leads_to(shipped, users):
            continue
        _seed(shipped, users, merge=first)
        _make(users, is_folder=_is_folder(path))
        durable.remove_tree(shipped)
        shipped.parent.mkdir(parents=True, exist_ok=True)
        shipped.symlink_to(os.path.relpath(users, shipped.parent))


def _is_reachable(code: Path, shipped: Path, home: Home) -> bool:
    """False where a folder above is itself kept, so that the link to that serves already."""
    for parent in reversed(shipped.relative_to(code).parents):
        above = code / parent
        if above == code or not above.is_symlink():
            continue
        if _leads_to(above, home.root / parent):
            return False
        raise StageError(
            f"{shipped.relative_to(code)} is kept, but {parent} is a symlink in the release.",
            next_step="Correct `paths` in [keep], or the repository.",
        )
    return True


def _leads_to(link: Path, target: Path) -> bool:
    return os.path.normpath(link.parent / link.readlink()) == os.path.normpath(target)


def _seed(shipped: Path, users: Path, *, merge: bool) -> None:
    """Moves what the release ships into the home, where the home has nothing of that name."""
    if shipped.is_symlink() or not shipped.exists():
        return
    if not os.path.lexists(users):
        durable.make_folder(users.parent)
        durable.sync_tree(shipped) if shipped.is_dir() else durable.sync_file(shipped)
        _move(shipped, users)
        durable.sync_folder(users.parent)
    elif merge and shipped.is_dir() and users.is_dir():
        for name in sorted(os.listdir(shipped)):  # noqa: PTH208 - names, not paths
            _seed(shipped / name, users / name, merge=True)


def _move(source: Path, target: Path) -> None:
    """By one rename, also where the target is on another file system."""
    try:
        source.rename(target)
    except OSError:
        beside = target.with_name(f".{target.name}.new")
        durable.remove_tree(beside)
        if source.is_dir():
            shutil.copytree(source, beside, symlinks=True)
            durable.sync_tree(beside)
        else:
            shutil.copy2(source, beside)
            durable.sync_file(beside)
        beside.rename(target)


def _make(users: Path, *, is_folder: bool) -> None:
    if not os.path.lexists(users):
        durable.make_folder(users if is_folder else users.parent)


def _is_folder(path: str) -> bool:
    name = Path(path).name
    return path.endswith("/") or name in _FOLDERS or "." not in name
