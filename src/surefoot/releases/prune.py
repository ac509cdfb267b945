"""Removing what no update and no rollback can need any more.

Kept: the release in use, the one before it, the last `keep` that were committed, and whatever an
update in flight names. Where the ledger knows fewer (it is new, or was damaged), the newest others
that are whole are kept in their place. Of the environments: those of the releases that are kept.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from surefoot import durable

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from surefoot.releases.ledger import Ledger
    from surefoot.releases.store import Store


def prune(
    releases: Store, ledger: Ledger, *, keep: int, in_use: Collection[str] = ()
) -> list[Path]:
    """Removes releases, environments and left-overs; returns what went.

    `in_use` names releases and environments that an update in flight needs. To be called by the
    one engine that holds the update lock, after the commit.
    """
    kept = {*_wanted(releases, ledger, keep), *in_use}
    gone = [path for path in _folders(releases.home.releases) if path.name not in kept]
    for path in gone:
        _remove(path)
    used = {*in_use, *_used_environments(releases)}
    left = [path for path in _folders(releases.home.environments) if path.name not in used]
    for path in left:
        _remove(path)
    return gone + left


def _wanted(releases: Store, ledger: Ledger, keep: int) -> set[str | None]:
    current = releases.current_id()
    whole = [release.id for release in reversed(releases.all())]
    committed = [release for release in ledger.newest_first() if release in whole]
    others = [release for release in whole if release not in ledger.denied]
    newest = dict.fromkeys([current, *committed, *others])
    return {*list(newest)[:keep], ledger.previous()}


def _used_environments(releases: Store) -> set[str]:
    """The keys that the releases name, also where only the symlink can be read."""
    used = {release.environment for release in releases.all()}
    for path in _folders(releases.home.releases):
        try:
            used.add(os.path.basename(os.readlink(path / "venv")))  # noqa: PTH115, PTH119 - a text
        except OSError:
            continue
    return used


def _folders(folder: Path) -> list[Path]:
    """The folders in it; uv's cache is no left-over, nor is what was put aside for a person."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and path.name != ".cache" and ".damaged-" not in path.name
    )


def _remove(path: Path) -> None:
    """What is half removed already is not renamed once more."""
    if path.name.endswith(".gone"):
        shutil.rmtree(path)
    else:
        durable.remove_tree(path)
