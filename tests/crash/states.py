"""Copies of a home, taken at many instants of one update; what has not changed is copied once."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat

_NOT_READ_BACK = {"run/progress", "surefoot.toml"}
"""What is in them makes no difference: it is shown, or written anew before each start."""


def copy(home: str, folder: str, name: str) -> None:
    """Adds the home as it is now. Hard links stay links; nothing may write meanwhile."""
    blobs = os.path.join(folder, "blobs")
    os.makedirs(blobs, exist_ok=True)
    lines = []
    digest = hashlib.sha256()
    for path, found in _walk(home):
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFREG:
            content = _blob(os.path.join(home, path), found, blobs)
        else:
            content = os.readlink(os.path.join(home, path)) if kind == stat.S_IFLNK else ""
        # Links: which names are one file is part of the state.
        lines.append(f"{found.st_mode}\t{found.st_ino}\t{content}\t{path}")
        if path not in _NOT_READ_BACK:
            same = found.st_ino if kind == stat.S_IFREG and found.st_nlink > 1 else ""
            seen = content.partition(".")[2] if kind == stat.S_IFREG else content
            digest.update(f"{found.st_mode}\t{same}\t{seen}\t{path}\n".encode())
    number = len([file for file in os.listdir(folder) if file.endswith(".state")])
    with open(os.path.join(folder, f"{number:04}.state"), "w", encoding="utf-8") as file:
        file.write("\n".join([name, digest.hexdigest(), *lines]))


def _walk(home: str) -> list[tuple[str, os.stat_result]]:
    found = []
    for folder, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            found.append((os.path.relpath(path, home), os.lstat(path)))
    return sorted(found)


def _blob(path: str, found: os.stat_result, blobs: str) -> str:
    """The name of the copy: which file it was when, and what is in it."""
    which = f"{found.st_ino}-{found.st_ctime_ns}-{found.st_size}"
    mapped = path.endswith("-shm")  # written to through memory: no time says when
    marker = os.path.join(blobs, which)
    if not mapped and os.path.lexists(marker):
        return os.readlink(marker)
    with open(path, "rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()[:24]
    blob = f"{found.st_size}.{seen}"
    target = os.path.join(blobs, blob)
    if not os.path.exists(target):
        shutil.copyfile(path, target)
    if not mapped:
        os.symlink(blob, marker)
    return blob


def restore(folder: str, number: int, home: str) -> None:
    """Makes the home, which must not be there, as it was."""
    with open(os.path.join(folder, f"{number:04}.state"), encoding="utf-8") as file:
        lines = file.read().split("\n")[2:]
    os.mkdir(home)
    made: dict[str, str] = {}
    for line in lines:
        mode_text, inode, content, path = line.split("\t")
        mode, target = int(mode_text), os.path.join(home, path)
        match stat.S_IFMT(mode):
            case stat.S_IFDIR:
                os.mkdir(target)
            case stat.S_IFLNK:
                os.symlink(content, target)
                continue
            case stat.S_IFREG if inode in made:
                os.link(made[inode], target)
            case stat.S_IFREG:
                shutil.copyfile(os.path.join(folder, "blobs", content), target)
                made[inode] = target
            case kind:
                os.mknod(target, kind | 0o600)
        os.chmod(target, stat.S_IMODE(mode))
