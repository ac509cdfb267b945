"""Removing any flush is noticed: something that is done would be lost without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.deeds import databases
from tests.lasting import lasting
from tests.power.flushes import DUMPS, flushes
from tests.test_lasting import DEEDS, make_root

if TYPE_CHECKING:
    from pathlib import Path


def test_none_of_the_flushes_in_the_source_could_be_left_out(tmp_path: Path) -> None:
    """But for those of a server's database, of which its own test says so."""
    needed = needed_by_the_deeds(tmp_path)
    unproven = {flush.name for flush in flushes() if flush.place not in needed}
    assert {name for name in unproven if not name.startswith(f"{DUMPS}:")} == set()


def needed_by_the_deeds(folder: Path) -> set[str]:
    """The places in the source, `file:line`, whose flushes one of them could not do without."""
    found = set()
    for deed in DEEDS:
        with lasting(root := make_root(folder / deed.__name__)) as log:
            deed(root)
        found |= log.needed()
    for deed_with, mode in databases.DEEDS:
        root = make_root(folder / deed_with.__name__)
        database = databases.make(root, mode)
        with lasting(root) as log:
            deed_with(root, database)
        found |= log.needed()
    return found
