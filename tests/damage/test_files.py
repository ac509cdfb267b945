"""Every file that is read back, damaged in every way: never a traceback, never a loop, never a
guess that loses data; and whoever only looks changes nothing."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from tests.damage.strategies import ANY, CUTS, LEAVES, PLACES, Damage
from tests.damage.test_lock import ROWS

from surefoot.errors import DamagedError, ExitCode, SurefootError
from surefoot.update.lock import Lock
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.damage.conftest import Place

    from surefoot.home import Home

FILES: dict[str, Callable[[Home], Path]] = {
    "lock": lambda home: home.lock,
    "history": lambda home: home.history,
    "ledger": lambda home: home.ledger,
    "release": lambda home: home.current / "release.json",
    "older release": lambda home: min(
        p for p in home.releases.glob("*/release.json") if not p.parent.samefile(home.current)
    ),
    "environment": lambda home: next(home.environments.glob("*/environment.json")),
    "backup": lambda home: min(home.backups.glob("*.json")),
    "request": lambda home: home.request,
    "progress": lambda home: home.progress,
    "configuration": lambda home: home.root / "surefoot.toml",
    ".env": lambda home: home.root / ".env",
    "current": lambda home: home.current,
    "hold": lambda home: home.hold,
    "delivered": lambda home: home.delivered,
    "delivered's lock": lambda home: home.delivered.with_suffix(".lock"),
    "busy": lambda home: home.busy,
    "postponed": lambda home: home.postponed,
    "supervisor's lock": lambda home: home.run / "supervisor.lock",
    "control": lambda home: home.control,
    "snapshots": lambda home: home.backups / "in_flight",
}
CONFIGURED = {"configuration", ".env", "current"}
SELDOM = {"delivered", "delivered's lock", "postponed", "supervisor's lock", "control", "snapshots"}
"""Of which nothing more is read than that they are there, or how far somebody is."""
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in SELDOM else n for n in FILES]
QUICK = {"history", "ledger", "request"}
"""Of the others an update comes to its end in `make test`."""
READERS = (
    ("status",),
    ("status", "--json"),
    ("releases",),
    ("releases", "--json"),
    ("history",),
    ("history", "--json"),
    ("backups", "--verify"),
    ("backups", "--json"),
)
some = settings(
    max_examples=int(os.environ.get("SUREFOOT_DAMAGE_EXAMPLES", "12")),
    deadline=None,
    derandomize="SUREFOOT_DAMAGE_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)


def listed(home: Home) -> dict[str, tuple[int, int]]:
    """Everything that a reader could change: names, kinds, sizes."""
    found = {}
    for folder, names, files in os.walk(home.root):
        names[:] = [n for n in names if n not in {"environments", "source.git", "app"}]
        for name in (*names, *files):
            status = os.lstat(f"{folder}/{name}")
            if not name.endswith(("-shm", "-wal")):
                size = status.st_size if stat.S_ISREG(status.st_mode) else 0
                found[f"{folder}/{name}"] = (status.st_mode, size)
    return found


@pytest.mark.parametrize("name", NAMES)
@some
@given(damage=ANY)
def test_whoever_looks_gets_an_answer_and_changes_nothing(
    prepared: Place, name: str, damage: Damage
) -> None:
    prepared.restore(State.MIGRATED if name == "lock" else None)
    file = FILES[name](prepared.home)
    file.parent.mkdir(exist_ok=True)
    damage.do(file)
    before = listed(prepared.home)
    for command in READERS:
        code, _, err = prepared.cli(*command)
        assert code in {ExitCode.OK, ExitCode.FAILED, ExitCode.CONFIGURATION}, (command, err)
        if command[0] == "status":
            assert code == ExitCode.OK, err
    assert listed(prepared.home) == before


@pytest.mark.parametrize("name", NAMES)
@settings(some, max_examples=3)
@given(damage=ANY)
def test_doctor_and_check_end_in_words(prepared: Place, name: str, damage: Damage) -> None:
    prepared.restore(State.MIGRATED if name == "lock" else None)
    file = FILES[name](prepared.home)
    file.parent.mkdir(exist_ok=True)
    damage.do(file)
    assert prepared.cli("doctor")[0] in {ExitCode.OK, ExitCode.FAILED}
    assert prepared.cli("check")[0] in {ExitCode.OK, ExitCode.FAILED, ExitCode.CONFIGURATION}
    assert prepared.cli("update")[0] in {ExitCode.NOT_RUNNING, ExitCode.CONFIGURATION}


@pytest.mark.parametrize(
    ("name", "auto"),
    [
        *((n, False) for n in sorted(QUICK)),
        ("hold", True),
        *(
            pytest.param(n, False, marks=pytest.mark.slow)
            for n in sorted(FILES.keys() - QUICK - {"lock", *CONFIGURED})
        ),
        *(pytest.param(n, True, marks=pytest.mark.slow) for n in sorted({"busy", *SELDOM})),
    ],
)
@settings(some, max_examples=6)
@given(damage=ANY)
def test_the_next_update_comes_to_an_end(
    prepared: Place, name: str, damage: Damage, *, auto: bool
) -> None:
    """Whatever is damaged, it ends with a release in use that is whole, and with every row."""
    prepared.restore()
    file = FILES[name](prepared.home)
    file.parent.mkdir(exist_ok=True)
    damage.do(file)
    with contextlib.suppress(SurefootError):
        prepared.engine("update", auto=auto)
    if prepared.home.lock.exists():  # the supervisor would start it again
        prepared.engine("resume")
    assert not prepared.home.lock.exists()
    schema, rows = prepared.rows()
    assert rows == ROWS
    used = prepared.home.current.readlink().name
    assert (used, schema) in {(prepared.tiny.id_of("v2"), 1), (prepared.tiny.id_of("v3"), 2)}
    if "run" in prepared.played.said:
        assert prepared.played.said[-1] == "run"


@pytest.mark.parametrize("state", [State.STAGED, State.MIGRATED, State.PROBATION])
@settings(some, max_examples=8)
@given(damage=CUTS | PLACES | LEAVES)
def test_a_damaged_lock_leads_to_a_whole_release_or_to_a_person(
    prepared: Place, state: State, damage: Damage
) -> None:
    prepared.restore(state)
    before = Lock(prepared.home).read()
    damage.do(prepared.home.lock)
    try:
        after = Lock(prepared.home).read()
    except DamagedError:
        after = None
    code = prepared.engine("resume")
    assert code in set(ExitCode)
    schema, rows = prepared.rows()
    if damage.what in {"a dangling link", "nothing"}:
        return  # then nothing is known of an update, and no engine is started
    assert after is None or after == before
    assert rows == ROWS
    used = prepared.home.current.readlink().name
    assert (used, schema) in {(prepared.tiny.id_of("v2"), 1), (prepared.tiny.id_of("v3"), 2)}
    assert not os.path.lexists(prepared.home.lock)
    assert prepared.engine("resume") in {ExitCode.OK, ExitCode.BROKEN, *ExitCode}
    assert (prepared.home.root / "surefoot.toml").is_file()
    assert prepared.home.mirror.is_dir()
