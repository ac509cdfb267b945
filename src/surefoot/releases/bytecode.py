"""The byte-compilation of a release's code: what is as it was is not compiled again.

Python takes a compiled file as long as it names the source's time and size. So a source that has
the same bytes in the release before gets the time that it has there, and what was compiled from it
is copied. A copy, not a link: releases share no file that could be damaged in all of them at once.
"""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.releases import command
from surefoot.releases.build_output import decisive_lines
from surefoot.releases.uv_settings import build_environment

if TYPE_CHECKING:
    from surefoot.config import Build
    from surefoot.releases.command import Progress

CACHE = "__pycache__"
LEFT_OUT = frozenset({".git", "node_modules", CACHE})


def compile_code(code: Path, python: Path, build: Build, progress: Progress) -> None:
    """Byte-compiles the app's code with the release's Python, where that is not done yet.

    A file that does not compile (a template, a file for another Python) is told and left: whether
    it matters is for the health check to say.
    """
    finished = command.run(
        [python, "-I", "-m", "compileall", "-q", "-x", r"/(\.git|node_modules)/", code],
        cwd=code, environment=build_environment(), timeout_s=build.timeout_s, merge=True,
    )  # fmt: skip
    if finished.code:
        progress(f"Some files do not compile: {decisive_lines(finished.errors)}")


def reuse(before: Path, code: Path, *, record: Path) -> None:
    """Takes over what was compiled of the sources in `before` that are the same in `code`.

    `record` is what was written last when `before` was made: what the app has compiled after that
    is left, for nobody has flushed it to the disk. No symlink is followed. Raises OSError; what is
    there then is whole.
    """
    made_ns = record.stat().st_mtime_ns
    for name, subfolders, _ in os.walk(code):
        folder = Path(name)
        old = before / folder.relative_to(code)
        subfolders[:] = [n for n in subfolders if n not in LEFT_OUT and _is_folder(old / n)]
        if not _is_folder(old / CACHE):
            continue
        for compiled in (old / CACHE).iterdir():
            source = f"{compiled.name.partition('.')[0]}.py"
            if _is_file(compiled) and compiled.stat().st_mtime_ns <= made_ns:
                _take_over(old / source, folder / source, compiled)


def _take_over(old: Path, new: Path, compiled: Path) -> None:
    if not (_is_file(old) and _is_file(new) and filecmp.cmp(old, new, shallow=False)):
        return
    (new.parent / CACHE).mkdir(exist_ok=True)
    target = new.parent / CACHE / compiled.name
    try:
        shutil.copyfile(compiled, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    seen = old.stat()
    os.utime(new, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
