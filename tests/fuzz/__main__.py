"""Coverage-guided fuzzing of every file that is read back.

python -m tests.fuzz            every file, a minute each
python -m tests.fuzz --seconds 600 --only configuration

The fuzzer begins with the files of a real home, follows the branches of our code and of the readers
under it, and shows what it invents to whoever only looks: an answer or an error in words, never a
traceback, and nothing in the home is changed by looking. Needs atheris, which `make fuzz` installs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.damage.conftest import Place
from tests.damage.test_files import FILES
from tests.fuzz.target import READ

from surefoot.update.states import State

TARGETS = sorted(READ)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long for each file")
    parser.add_argument("--only", default="", help="part of a file's name: " + ", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=0, help="0 takes a new one")
    options = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="surefoot-fuzz-") as folder:
        place = Place(Path(folder).resolve() / "place")
        for name in (t for t in TARGETS if options.only in t):
            place.restore(State.MIGRATED if name == "lock" else None)
            failed += not _fuzzed(Path(folder), place, name, options)
    return 1 if failed else 0


def _fuzzed(folder: Path, place: Place, name: str, options: argparse.Namespace) -> bool:
    file = FILES[name](place.home)
    corpus = folder / "corpus" / name
    corpus.mkdir(parents=True)
    (corpus / "real").write_bytes(file.read_bytes() if file.is_file() else b"")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.target", name, str(place.home.root), str(file)),
            *(str(corpus), f"-max_total_time={options.seconds}", f"-seed={options.seed}"),
            *("-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={folder}/"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    done = re.findall(r"Done (\d+) runs", run.stderr)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", run.stderr)
    if run.returncode or not done or not reached:
        sys.stdout.write(f"{name}: FAILED\n{run.stdout[-4000:]}{run.stderr[-4000:]}\n")
        for found in folder.glob("*-*"):
            if found.is_file():
                sys.stdout.write(f"{found.name}: {found.read_bytes()!r}\n")
                found.unlink()
        return False
    sys.stdout.write(
        f"{name}: {done[-1]} inventions, {reached[0][0]} branches reached at first, "
        f"{reached[-1][0]} at the end, {len(list(corpus.iterdir()))} kept.\n"
    )
    sys.stdout.flush()
    return True


if __name__ == "__main__":
    sys.exit(main())
