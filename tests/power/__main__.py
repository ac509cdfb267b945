"""`make power-test`: the power goes at moments spread over updates and rollbacks.

The app is updated for real, on a disk of its own, while rows are written through it. Then the power
goes, comes back, and `surefoot run` is started again: the app must be whole, with every
acknowledged row.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.place import Place, Writer, why_not
from tests.crash.verdict import Verdict, judge
from tests.power.disk import MAKE, Disk, see_mounts_alone

if TYPE_CHECKING:
    from collections.abc import Iterator

AIMS = ("whole", "code", "fails", "ill")
"""An update with a migration, one of code only, and two that are rolled back."""


@contextlib.contextmanager
def place_on_a_disk(kind: str) -> Iterator[tuple[Place, Disk]]:
    """Raises OSError where no disk can be made."""
    with tempfile.TemporaryDirectory(prefix="surefoot-power-") as made:
        folder = Path(made)
        disk = Disk(folder, kind)
        try:
            place = Place(folder, home=disk.root / "home")
            try:
                yield place, disk
            finally:
                place.kill()
        finally:
            disk.close()


def duration_s(place: Place, aim: str) -> float:
    """How long the update takes from the request to its end, undisturbed."""
    place.restore()
    place.start()
    place.wait_for(lambda: place.version() == "first", "the first release serves")
    begin_s = time.monotonic()
    place.ask_for(aim)
    place.wait_for(lambda: not place.is_quiet, "the update begins")
    place.wait_for(lambda: place.is_quiet, "the update ends")
    return time.monotonic() - begin_s


def one_round(place: Place, disk: Disk, aim: str, after_s: float) -> Verdict:
    """The power goes `after_s` seconds after the request."""
    place.restore()
    disk.flush()  # what was there before is there
    place.start()
    place.wait_for(lambda: place.version() == "first", "the first release serves")
    with Writer(place) as writer:
        update = place.ask_for(aim)
        time.sleep(after_s)
        disk.cut()
        writer.end()
    place.kill()
    disk.come_back()
    place.log.unlink()  # on a dead disk anything may be said
    place.home.request.unlink(missing_ok=True)  # a request is no promise until it is taken up
    place.start()
    place.wait_for(lambda: place.version() is not None and place.is_quiet, "the app serves again")
    verdict = judge(place, aim, update, writer.acknowledged, struck=True)
    # Cut before it was written down, a request is forgotten, and nobody need be told.
    verdict.problems = [p for p in verdict.problems if not p.startswith("nobody was told")]
    return verdict


def sweep(kind: str, rounds: int, seed: int) -> Counter[str]:
    """Rounds spread evenly over every aim; what was found, by its kind."""
    chance = random.Random(seed)
    found: Counter[str] = Counter()
    with place_on_a_disk(kind) as (place, disk):
        lasts_s = {aim: duration_s(place, aim) for aim in AIMS}
        for number in range(rounds):
            aim = AIMS[number % len(AIMS)]
            share = (number // len(AIMS) + chance.random()) / max(1, -(-rounds // len(AIMS)))
            after_s = share * lasts_s[aim]
            try:
                verdict = one_round(place, disk, aim, after_s)
                problems, lost, serves = verdict.problems, verdict.lost, verdict.serves
            except TimeoutError as error:
                problems, lost, serves = [str(error)], 0, None
            found["rounds"] += 1
            found["lost rows"] += lost
            found["whole" if not problems else "NOT WHOLE"] += 1
            found[f"{serves} serves"] += 1
            for problem in problems:
                sys.stdout.write(f"{kind}, {aim}, after {after_s:.3f} s: {problem}\n")
                sys.stdout.write(place.log.read_text(errors="replace")[-3000:])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power", description=__doc__)
    parser.add_argument("--rounds", type=int, default=500, help="in all (500)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    if reason := why_not():
        sys.stdout.write(f"The power test cannot be run: {reason}.\n")
        return 2
    try:
        see_mounts_alone()
    except OSError as error:
        sys.stdout.write(f"The power test cannot be run: {error.strerror} (it needs root).\n")
        return 2
    sys.stdout.write(f"Seed {options.seed}.\n")
    failed = 0
    for kind in MAKE:
        found = sweep(kind, max(1, options.rounds // len(MAKE)), options.seed)
        failed += found["NOT WHOLE"]
        sys.stdout.write(f"{kind}: {', '.join(f'{n} {what}' for what, n in found.items())}\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
