"""What returns has lasted: each of these is done, and looked at as a power cut would leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.deeds import databases, files, releases
from tests.lasting import lasting

from surefoot import durable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEEDS = [*files.DEEDS, *releases.DEEDS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def make_root(folder: Path) -> Path:
    """A home of which everything is on the disk already."""
    root = folder / "home"
    for name in ("data", "releases", "run", "folder/below"):
        (root / name).mkdir(parents=True)
    (root / "file").write_text("before")
    (root / "folder" / "below" / "file").write_text("before")
    return root


@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_it_has_lasted_when_it_returns(root: Path, deed: Callable[[Path], None]) -> None:
    with lasting(root):
        deed(root)


@pytest.mark.parametrize(
    ("deed", "mode"), databases.DEEDS, ids=[deed.__name__ for deed, _ in databases.DEEDS]
)
def test_so_it_has_with_a_database(
    root: Path, deed: Callable[[Path, Path], None], mode: str
) -> None:
    database = databases.make(root, mode)
    with lasting(root):
        deed(root, database)


def test_what_is_not_flushed_is_seen(root: Path) -> None:
    def seen(deed: Callable[[], object]) -> bool:
        try:
            with lasting(root):
                deed()
        except AssertionError:
            return True
        return False

    def renamed_first() -> None:
        (root / "new").write_text("x")
        (root / "new").rename(root / "file")
        durable.sync_file(root / "file")
        durable.sync_folder(root)

    assert seen(lambda: (root / "file").write_text("other"))
    assert seen(lambda: (root / "link").symlink_to("x"))
    assert seen((root / "link").unlink)
    assert seen(renamed_first)
    assert not seen(lambda: files.replace(root))
