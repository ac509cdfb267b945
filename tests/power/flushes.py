"""Every flush in the source, taken out of a copy of it one at a time: which test notices?

    python -m tests.power.flushes                what each is noticed by
    python -m tests.power.flushes --part 2/6     a sixth of them

A flush whose absence nothing notices is either not needed, or not proven. Ends with 1 where there
is one. `test_flushes` says the same of all of them in seconds, by what was flushed in which order.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import surefoot

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCE = Path(surefoot.__file__).parent
FLUSHES = {"fsync", "sync_file", "sync_folder", "sync_tree", "_sync"}

LASTS = "tests/test_lasting.py"
DUMPS = "databases/postgresql/dumps.py"
A_DUMP_LASTS = "tests/databases/test_postgresql.py::test_a_dump_has_lasted_when_it_is_made"

_NOTICED = re.compile(r"FAILED (\S+) - AssertionError: (not|renamed before it was) flushed")


@dataclass(frozen=True)
class Flush:
    """One call."""

    file: Path
    function: str
    line: int
    text: str
    begin: int
    end: int

    @property
    def name(self) -> str:
        return f"{self.file.relative_to(SOURCE)}:{self.function}: {self.text}"

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(SOURCE)}:{self.line}"


def flushes() -> Iterator[Flush]:
    for file in sorted(SOURCE.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        for function in ast.walk(ast.parse(source)):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _name(node.func) in FLUSHES:
                    begin, end = _span(source, node)
                    text = " ".join(source[begin:end].split())
                    yield Flush(file, function.name, node.lineno, text, begin, end)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _span(source: str, node: ast.Call) -> tuple[int, int]:
    lines = source.splitlines(keepends=True)

    def place(line: int, column: int) -> int:
        before = lines[line - 1].encode()[:column].decode()
        return sum(map(len, lines[: line - 1])) + len(before)

    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)


def noticed_by(flush: Flush, copy: Path) -> str:
    """The test that fails without the flush; empty where none does."""
    file = copy / "surefoot" / flush.file.relative_to(SOURCE)
    source = file.read_text(encoding="utf-8")
    file.write_text(f"{source[: flush.begin]}None{source[flush.end :]}", encoding="utf-8")
    try:
        done = tested(test_of(flush), copy)
    finally:
        file.write_text(source, encoding="utf-8")
    found = _NOTICED.search(done.stdout)
    return found[1] if found else ""


def test_of(flush: Flush) -> str:
    """What is run without it: of a server's database it needs a server."""
    return A_DUMP_LASTS if flush.place.startswith(f"{DUMPS}:") else LASTS


def tested(test: str, copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(copy),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "300",  # else what went wrong is cut off
        },
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power.flushes", description=__doc__)
    parser.add_argument("--part", default="1/1", help="only this part of them, as in 2/6")
    index, _, parts = parser.parse_args().part.partition("/")
    found = list(flushes())[int(index) - 1 :: int(parts)]
    unproven = 0
    with tempfile.TemporaryDirectory(prefix="surefoot-flushes-") as made:
        copy = Path(made) / "src"  # as the places in it are told by
        shutil.copytree(SOURCE, copy / "surefoot")
        for test in sorted({test_of(flush) for flush in found}):
            done = tested(test, copy)
            if done.returncode or "skipped" in done.stdout:
                sys.exit(f"With every flush in its place:\n{done.stdout}{done.stderr}")
        for flush in found:
            by = noticed_by(flush, copy)
            unproven += not by
            sys.stdout.write(f"{flush.name:75} {by.rpartition('::')[2] or 'NOT NOTICED'}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(found)} taken out, {unproven} of them not noticed.\n")
    return 1 if unproven else 0


if __name__ == "__main__":
    sys.exit(main())
