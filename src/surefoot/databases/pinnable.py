"""Which databases are pinned; all others are copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from surefoot.databases import files, journal_mode

PAYS_FROM_BYTES = 32 * 1024 * 1024
"""A smaller database is copied as fast as it is pinned."""

FILE_SYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"})
"""Local, with locks and links that do what they say."""


def why_not(database: Path, folder: Path, *, switchable: bool) -> str:
    """Why the database cannot be pinned, or need not; empty where it should be.

    `switchable`: the app does not set the journal mode itself.
    """
    status = database.stat()
    if status.st_size < PAYS_FROM_BYTES:
        return "it is small"
    if not journal_mode.is_log(header := files.header(database)):
        if not journal_mode.is_switchable(header):
            return "it is in no mode that is known"
        if not switchable:
            return "it is not in WAL mode, and the app may set the mode itself"
    if status.st_nlink != 1:
        return "its file has several names"
    if status.st_dev != folder.stat().st_dev:
        return "the snapshot's folder lies on another file system"
    if (kind := _file_system(status.st_dev)) not in FILE_SYSTEMS:
        return f"its file system is {kind or 'unknown'}"
    if shutil.disk_usage(folder).free < 2 * status.st_size:
        return "the disk has less room than twice its size"
    if files.shares_blocks(folder):
        return "the file system copies by sharing blocks"
    return ""


def _file_system(device: int) -> str:
    """The kind of the file system, by the kernel's table of mounts; empty if it is not there."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            return rest.split()[0]
    return ""
