"""Every flush in the source, taken out one at a time: is it noticed?

    python -m tests.power.flushes                what each is noticed by
    python -m tests.power.flushes --part 2/6     a sixth of them
    python -m tests.power.flushes --quick        only what needs no second run

First all that `test_lasting` does is done once: a flush counts as noticed where something would be
lost without it. The others are taken out of a copy of the source, and tests are run against it.

A flush whose absence nothing notices is either not needed, or not proven. Ends with 1 where there
is one that is not among those known (`NOT_NOTICED`, each with its reason).
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.test_lasting import needed

import surefoot

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SOURCE = Path(surefoot.__file__).parent
FLUSHES = {"fsync", "sync_file", "sync_folder", "sync_tree", "_sync"}

LASTS = "tests/test_lasting.py"
SAME = "tests/simulation/test_the_real_host.py"
CUT = "tests/databases/test_power_cut.py"
BY = {"databases/": (CUT, SAME), "": (SAME,)}
"""The tests that may notice, by where the flush is."""

NOT_NOTICED: dict[str, str] = {}


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
        for function in ast.walk(tree := ast.parse(source)):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _name(node.func) in FLUSHES:
                    begin, end = _span(source, node)
                    text = " ".join(source[begin:end].split())
                    yield Flush(file, function.name, node.lineno, text, begin, end)
        del tree


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
    where = str(flush.file.relative_to(SOURCE))
    file = copy / "surefoot" / where
    source = file.read_text(encoding="utf-8")
    file.write_text(f"{source[: flush.begin]}None{source[flush.end :]}", encoding="utf-8")
    try:
        beginning = max((b for b in BY if where.startswith(b)), key=len)
        for test in BY[beginning]:
            if not _passes(test, copy):
                return test
    finally:
        file.write_text(source, encoding="utf-8")
    return ""


def _passes(test: str, copy: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power.flushes", description=__doc__)
    parser.add_argument("--part", default="1/1", help="only this part of them, as in 2/6")
    parser.add_argument("--quick", action="store_true", help="take nothing out of the source")
    options = parser.parse_args()
    index, _, parts = options.part.partition("/")
    found = list(flushes())
    found = found[int(index) - 1 :: int(parts)]
    unproven = 0
    with tempfile.TemporaryDirectory(prefix="surefoot-flushes-") as made:
        copy = Path(made)
        shutil.copytree(SOURCE, copy / "surefoot")
        lasts = needed(copy / "deeds")
        for flush in found:
            by = LASTS if flush.place in lasts else ""
            by = by or ("" if options.quick else noticed_by(flush, copy))
            known = NOT_NOTICED.get(flush.name, "")
            unproven += not by and not known
            sys.stdout.write(f"{by or known or 'NOT NOTICED':45} {flush.name}\n")
            sys.stdout.flush()
    return 1 if unproven else 0


if __name__ == "__main__":
    sys.exit(main())
