"""Updates in a row, good and bad, with the engine or everything killed at random: nothing grows,
nothing leaks, nothing is lost.

    make long-run                             500 of them
    SUREFOOT_SEED=7 pytest ...                the same run again
    SUREFOOT_LONG_RUN_IN=FOLDER pytest ...    goes on with the home in this folder, where it ended
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.tiny import Repository, Tiny

from surefoot.update.history import FINAL, History

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = int(os.environ.get("SUREFOOT_LONG_RUN", "8"))
SEED = int(os.environ.get("SUREFOOT_SEED", str(random.randrange(10**6))))
KEPT = os.environ.get("SUREFOOT_LONG_RUN_IN")
KINDS = ("good", "good", "good", "migrates", "migrates", "dies", "ill", "fails")
FAULTS = ("none", "none", "engine", "engine", "all")


class Seen(msgspec.Struct, frozen=True):
    """What must not grow."""

    processes: tuple[str, ...]
    descriptors: int
    run: frozenset[str]
    releases: int
    environments: int
    backups: int
    strays: frozenset[str]
    """Whatever lies in the home that is none of the above."""
    files: int
    """In the home, but for what belongs to releases, environments and the mirror."""
    mirror_files: int


class Progress(msgspec.Struct):
    """What is known of the updates until now, by whoever has asked for them."""

    number: int = 0
    serves: str = "first"
    schemas: dict[str, int] = msgspec.field(default_factory=lambda: {"first": 1})
    rows: dict[int, str] = msgspec.field(default_factory=dict)
    first: Seen | None = None
    done: dict[str, int] = msgspec.field(default_factory=dict)


@pytest.fixture
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    folder = Path(KEPT) if KEPT else tmp_path_factory.mktemp("longrun")
    folder.mkdir(parents=True, exist_ok=True)
    repository = Repository(folder / "source")
    if not repository.commits:
        repository.release("first")
    tiny = Tiny(folder, repository)
    try:
        tiny.start()
        tiny.wait_for(tiny.version, "a release serves")
        tiny.wait_until_quiet()
        yield tiny
        tiny.stop()
        tiny.wait_for(lambda: not tiny.processes(), "nothing is left behind")
    finally:
        tiny.kill_all()
        sys.stdout.write(tiny.log_tail(200))


def seen(tiny: Tiny) -> Seen:
    home = tiny.home
    (supervisor,) = (
        pid
        for pid in tiny.processes()
        if (home.run / "supervisor.lock").read_text().strip() == str(pid)
    )
    names = {p.name for p in (*home.root.iterdir(), *home.data.iterdir(), *home.releases.iterdir())}
    return Seen(
        processes=tuple(sorted({Path(line.split()[0]).name for line in tiny.processes().values()})),
        descriptors=len(list(Path(f"/proc/{supervisor}/fd").iterdir())),
        run=frozenset(p.name for p in home.run.iterdir()),
        releases=len(list(home.releases.glob("*/release.json"))),
        environments=len(list(home.environments.glob("[!.]*"))),
        backups=len(list(home.backups.glob("*.db"))),
        strays=frozenset(n for n in names if len(n) != 12),
        files=sum(len(files) for top in (home.data, home.run) for _, _, files in os.walk(top)),
        mirror_files=sum(len(files) for _, _, files in os.walk(home.mirror)),
    )


def assert_bounded(now: Seen, first: Seen, fault: str) -> None:
    assert now.descriptors <= first.descriptors + 1
    assert now.run <= first.run | {"progress", "supervisor.lock", "control", "events"}, now
    assert now.releases <= 5  # three, the one before, and one that was just made
    assert now.environments <= 2
    # Five made before updates, five replaced, and the newest of each release that is kept.
    assert now.backups <= 2 * 5 + 3, now
    assert not {n for n in now.strays if "damaged" in n or n.endswith(".new")}, now
    # What a struck one had begun to remove goes with the next that is not.
    assert len({n for n in now.strays if n.endswith(".gone")}) <= (fault != "none"), now


def wait_for_no_strangers(tiny: Tiny) -> None:
    """The supervisor runs a short command now and then; nothing else may stay."""

    def strangers() -> set[str]:
        lines = tiny.processes().values()
        return {Path(line.split()[0]).name for line in lines if line} - {"sh", "python", "sleep"}

    tiny.wait_for(lambda: not strangers(), "none but the app and the supervisor run")


def strike(tiny: Tiny, fault: str, chance: random.Random) -> None:
    """Kills at some moment from the request on."""
    time.sleep(chance.uniform(0, 2.5))
    if fault == "all":
        tiny.kill_all()
        tiny.start()
    elif fault == "engine":
        for pid, line in tiny.processes().items():
            if " engine " in line:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def assert_whole(tiny: Tiny, schemas: dict[str, int], rows: dict[int, str]) -> str:
    version = tiny.version()
    assert version is not None
    assert tiny.home.current.readlink().name == tiny.id_of(version)
    with closing(sqlite3.connect(tiny.home.data / "rows.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == schemas[version]
        found = dict(connection.execute("SELECT id, text FROM rows").fetchall())
    assert rows.items() <= found.items()
    return version


@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_updates_in_a_row_leave_nothing_behind(tiny: Tiny) -> None:
    file = tiny.home.root.parent / "progress.json"
    so_far = msgspec.json.decode(file.read_bytes(), type=Progress) if file.exists() else Progress()
    sys.stdout.write(f"SUREFOOT_SEED={SEED}, {ROUNDS} updates after {so_far.number}\n")
    for _ in range(ROUNDS):
        fault = one_update(tiny, so_far, random.Random(f"{SEED} {so_far.number}"))
        wait_for_no_strangers(tiny)
        so_far.first = so_far.first or seen(tiny)
        assert_bounded(seen(tiny), so_far.first, fault)
        so_far.number += 1
        file.write_bytes(msgspec.json.encode(so_far))
    assert_history_is_whole(tiny)
    for name, count in sorted(so_far.done.items()):
        sys.stdout.write(f"  {count:4}  {name}\n")
    sys.stdout.write(f"At first {so_far.first}\nat last  {seen(tiny)}\n")


def one_update(tiny: Tiny, so_far: Progress, chance: random.Random) -> str:
    """Asks for a release of some kind, strikes, and sees what became of it. Returns the fault."""
    kind, fault = chance.choice(KINDS), chance.choice(FAULTS)
    tag, before = f"r{so_far.number}-{kind}", so_far.serves
    schema = so_far.schemas[before] + (kind in {"migrates", "fails"})
    so_far.schemas[tag] = schema
    tiny.repository.release(
        tag, "good" if kind == "migrates" else kind, schema=schema, follow=False
    )
    text = f"before {tag}"
    so_far.rows[tiny.post(text)] = text
    update = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "update", "--to", tag, "--wait",
         "--home", str(tiny.home.root)],
        env=tiny.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if fault != "none":
        strike(tiny, fault, chance)
    said, _ = update.communicate(timeout=100)
    tiny.wait_until_quiet()
    tiny.wait_for(lambda: tiny.version() is not None, "a release serves")
    serves = so_far.serves = assert_whole(tiny, so_far.schemas, so_far.rows)
    allowed = {before, tag} if kind in {"good", "migrates"} else {before}
    assert serves in allowed, (tag, fault, said)
    if fault != "all" and kind in {"good", "migrates"}:
        assert serves == tag, said
    name = f"{kind}, {fault} killed: {'new' if serves == tag else 'old'}"
    so_far.done[name] = so_far.done.get(name, 0) + 1
    return fault


def assert_history_is_whole(tiny: Tiny) -> None:
    """Every update that was begun has ended, once; no line is torn."""
    lines = tiny.home.history.read_bytes().splitlines()
    events = list(History(tiny.home).read())
    assert len(events) == len([line for line in lines if line])
    begun = [e.update for e in events if e.event == "requested"]
    assert len(begun) == len(set(begun))
    for update in begun:
        ended = [e.event for e in events if e.update == update and e.event in FINAL]
        assert len(ended) == 1, (update, ended)
