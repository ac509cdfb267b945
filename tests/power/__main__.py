"""`make power-test`: the power goes at moments spread over updates and rollbacks.

The app is updated for real, on a disk of its own, while rows are written through it. Then the power
goes, comes back, and `surefoot run` is started again: the app must be whole, with every
acknowledged row.

    python -m tests.power --seed 7 --part 3/12     a twelfth of the same 500: the counts add up
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tests.crash.place import Place, Writer, why_not
from tests.crash.sample import FIRST
from tests.crash.verdict import Verdict, judge
from tests.power.disk import MAKE, Disk, see_mounts_alone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.update.lock import Kind

LARGE_MB = 36
"""A database of this size is pinned, where the disk cannot share blocks; a small one is copied."""


PATIENCE_S = 300.0
"""Recovery may be a whole update, and the machine may be busy."""


@dataclass(frozen=True)
class Aim:
    """What is asked for."""

    release: str
    kind: Kind = "update"
    before: str = FIRST.tag
    """The release that is in use."""

    def __str__(self) -> str:
        return f"{self.kind} to {self.release}"


AIMS = (
    Aim("whole"),
    Aim("code"),
    Aim("fails"),
    Aim("ill"),
    Aim("first", "rollback", before="whole"),
    Aim("code", "restore", before="code"),
)
"""An update with a migration, one of code only, two that are rolled back by themselves, and a
rollback and a restore that a person asks for."""


@dataclass(frozen=True)
class Round:
    """One cut. `share`: how far the update has come, of the time that it takes undisturbed."""

    disk: str
    size_mb: int
    aim: Aim
    share: float


def planned(number: int, seed: int) -> list[Round]:
    """So many rounds: every disk, size and aim alike, at moments spread evenly over each."""
    kinds = [(disk, size, aim) for disk in MAKE for size in (0, LARGE_MB) for aim in AIMS]
    chance = random.Random(seed)
    order = chance.sample(kinds, len(kinds))  # which of them have one round more
    of_each = [number // len(kinds) + (i < number % len(kinds)) for i in range(len(kinds))]
    return [
        Round(disk, size, aim, (index + chance.random()) / count)
        for (disk, size, aim), count in sorted(
            zip(order, of_each, strict=True), key=lambda each: kinds.index(each[0])
        )
        for index in range(count)
    ]


def part_of(rounds: list[Round], part: str) -> list[Round]:
    """The part of them that `3/12` names."""
    index, _, parts = part.partition("/")
    begin, end = (len(rounds) * i // int(parts) for i in (int(index) - 1, int(index)))
    return rounds[begin:end]


@contextlib.contextmanager
def place_on_a_disk(kind: str, size_mb: int = 0) -> Iterator[tuple[Place, Disk]]:
    """Raises OSError where no disk can be made."""
    with tempfile.TemporaryDirectory(prefix="surefoot-power-") as made:
        folder = Path(made)
        disk = Disk(folder, kind)
        try:
            place = Place(folder, home=disk.root / "home", size_mb=size_mb)
            try:
                yield place, disk
            finally:
                place.kill()
        finally:
            disk.close()


def make_ready(place: Place, aim: Aim) -> None:
    """The release that is in use before is in use, and all has settled."""
    place.restore()
    if aim.before != FIRST.tag:
        kept = place.folder / f"prepared-{aim.before}"
        if not kept.exists():
            _serve(place, FIRST.tag)
            _carry_out(place, Aim(aim.before))
            place.stop()
            _copy(place.home.root, kept)
        shutil.rmtree(place.home.root)
        _copy(kept, place.home.root)


def duration_s(place: Place, aim: Aim) -> float:
    """How long the update takes from the request to its end, undisturbed."""
    make_ready(place, aim)
    _serve(place, aim.before)
    return _carry_out(place, aim)


def one_round(place: Place, disk: Disk, aim: Aim, after_s: float) -> Verdict:
    """The power goes `after_s` seconds after the request."""
    make_ready(place, aim)
    disk.flush()  # what was there before is there
    _serve(place, aim.before)
    with Writer(place) as writer:
        update = place.ask_for(aim.release, aim.kind)
        time.sleep(after_s)
        disk.cut()
        place.kill()
    disk.come_back()
    place.log.unlink()  # on a dead disk anything may be said
    place.home.request.unlink(missing_ok=True)  # a request is no promise until it is taken up
    place.start()
    place.wait_for(
        lambda: place.version() is not None and place.is_quiet, "the app serves again", PATIENCE_S
    )
    verdict = judge(
        place,
        aim.release,
        update,
        writer.acknowledged,
        struck=True,
        old=aim.before,
        replaces=aim.kind != "update",
    )
    # Cut before it was written down, a request is forgotten, and nobody need be told.
    verdict.problems = [p for p in verdict.problems if not p.startswith("nobody was told")]
    return verdict


def _serve(place: Place, release: str) -> None:
    place.start()
    place.wait_for(lambda: place.version() == release, f"{release} serves")


def _carry_out(place: Place, aim: Aim) -> float:
    begin_s = time.monotonic()
    place.ask_for(aim.release, aim.kind)
    place.wait_for(lambda: not place.is_quiet, "the update begins")
    place.wait_for(lambda: place.is_quiet, "the update ends")
    return time.monotonic() - begin_s


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def sweep(kind: str, size_mb: int, rounds: list[Round]) -> Counter[str]:
    """Rounds on one disk; what was found, by its kind."""
    found: Counter[str] = Counter()
    with place_on_a_disk(kind, size_mb) as (place, disk):
        lasts_s = {aim: duration_s(place, aim) for aim in dict.fromkeys(r.aim for r in rounds)}
        for each in rounds:
            after_s = each.share * lasts_s[each.aim]
            try:
                verdict = one_round(place, disk, each.aim, after_s)
                problems, lost, serves = verdict.problems, verdict.lost, verdict.serves
            except TimeoutError as error:
                problems, lost, serves = [str(error)], 0, None
            found["rounds"] += 1
            found["lost rows"] += lost
            found["whole" if not problems else "NOT WHOLE"] += 1
            found[f"end with the {'old' if serves == each.aim.before else 'new'} release"] += 1
            for problem in problems:
                sys.stdout.write(
                    f"{kind}, {size_mb} MB, {each.aim}, at {after_s:.3f} s: {problem}\n"
                )
                sys.stdout.write(place.log.read_text(errors="replace")[-3000:])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.power",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=500, help="in all (500)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--part", default="1/1", help="only this part of them, as in 3/12")
    options = parser.parse_args()
    if reason := why_not():
        sys.stdout.write(f"The power test cannot be run: {reason}.\n")
        return 2
    try:
        see_mounts_alone()
    except OSError as error:
        sys.stdout.write(f"The power test cannot be run: {error.strerror} (it needs root).\n")
        return 2
    rounds = part_of(planned(options.rounds, options.seed), options.part)
    sys.stdout.write(f"Seed {options.seed}, {len(rounds)} rounds.\n")
    failed = 0
    for (kind, size_mb), of_it in groupby(rounds, lambda each: (each.disk, each.size_mb)):
        found = sweep(kind, size_mb, list(of_it))
        failed += found["NOT WHOLE"]
        told = ", ".join(f"{n} {what}" for what, n in found.items())
        sys.stdout.write(f"{kind}, {'a large' if size_mb else 'a small'} database: {told}\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
