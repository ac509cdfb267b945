"""`python -m bench [PART...]`: measures, and writes `bench/results` and what is made from it."""

from __future__ import annotations

import argparse
import importlib
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import plots, render, results
from bench.effort import Effort


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(results.PARTS))
    how = parser.add_mutually_exclusive_group()
    for known, what in (
        (Effort.BRIEF, "about half as often"),
        (Effort.QUICK, "once, to try it; nothing is written"),
    ):
        how.add_argument(f"--{known}", dest="effort", action="store_const", const=known, help=what)
    parser.add_argument("--only", action="append", default=[], metavar="CONTENDER")
    parser.add_argument("--folder", type=Path, help="where it happens, and is kept")
    parser.add_argument("--render", action="store_true", help="only write what is made from it")
    given = parser.parse_args()
    if given.render:
        write_documents()
        return 0
    effort = given.effort or Effort.WHOLE
    parts = given.parts or list(results.PARTS)
    if unknown := sorted({*parts} - {*results.PARTS}):
        parser.error(f"there is no part {', '.join(unknown)}: {', '.join(results.PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    folder = given.folder or Path(tempfile.mkdtemp(prefix="surefoot-bench-"))
    try:
        for part in parts:
            began_s = time.monotonic()
            print(f"{part}:", flush=True)
            module = importlib.import_module(f"bench.parts.{part}")
            rows = module.measure(folder / part, effort=effort, only=given.only)
            print(f"{part} took {time.monotonic() - began_s:.0f} s", flush=True)
            if effort is Effort.QUICK or given.only:
                for row in rows:
                    print("   ", row)
            else:
                results.write(part, rows)
                results.write_machine()
                write_documents()
    finally:
        if given.folder is None:
            shutil.rmtree(folder)
    return 0


def write_documents() -> None:
    """The page, the plots and the tables in the READMEs."""
    plots.draw()
    for path, text in render.render().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
