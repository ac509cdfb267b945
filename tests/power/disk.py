"""A disk whose power goes: what was flushed is there afterwards, what was not is gone.

A file system in an image, shut down by its own ioctl without flushing its journal, then mounted
again. In a mount namespace of its own, so that nobody else can keep it busy.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CLONE_NEWNS = 0x00020000
SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), of ext4 and XFS alike
WITHOUT_THE_JOURNAL = 2
SIZE_MB = 400

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
}
# ext4 guesses that a rename over a file means that its content should be flushed; not here.
OPTIONS = {"ext4": "noauto_da_alloc", "xfs": "defaults"}


def see_mounts_alone() -> None:
    """Raises OSError where that is not allowed."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no mount namespace of one's own")
    _run("mount", "--make-rprivate", "/")


class Disk:
    """An image, mounted at `root`."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self.root = folder / "disk"
        self.root.mkdir()
        image = folder / "disk.img"
        with image.open("wb") as file:
            file.truncate(SIZE_MB * 1024 * 1024)
        self.device = _run("losetup", "--find", "--show", str(image)).strip()
        _run(*MAKE[kind], self.device)
        self._mount()

    def flush(self) -> None:
        _run("sync", "--file-system", str(self.root))

    def cut(self) -> None:
        """From now on nothing reaches the disk, and whoever tries gets an error."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_THE_JOURNAL))
        finally:
            os.close(descriptor)

    def come_back(self) -> None:
        """The power is there again. Nothing may use the disk any more."""
        self._unmount()
        self._mount()

    def close(self) -> None:
        self._unmount()
        _run("losetup", "--detach", self.device)

    def _mount(self) -> None:
        _run("mount", "-t", self.kind, "-o", OPTIONS[self.kind], self.device, str(self.root))

    def _unmount(self) -> None:
        deadline_s = time.monotonic() + 60
        while subprocess.run(["umount", self.root], check=False, capture_output=True).returncode:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"something holds {self.root}")
            time.sleep(0.05)


def _run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.returncode, f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
