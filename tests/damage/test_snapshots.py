"""The files of a snapshot, damaged in the middle of an update: what cannot be put back is said, and
what can be is put back."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from tests.damage.strategies import Damage
from tests.damage.test_broken import snapshot_of
from tests.damage.test_lock import ROWS, interrupted

from surefoot.databases import files, pinnable
from surefoot.errors import ExitCode
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.damage.conftest import Place

PINNED = ("main.pin", "main.work", "main.restored", "rolling_back", "update.json")
COPIED = ("main.db", "main.restored", "rolling_back", "update.json")
DAMAGE = [
    *(Damage("bytes", content=content) for content in (b"", b"{", b"\xff\xfe", b"[" * 100_000)),
    *(Damage(what) for what in ("a loop", "a dangling link", "a folder", "a pipe", "nothing")),
]
SOME = [DAMAGE[0], DAMAGE[2], DAMAGE[6], DAMAGE[7]]


def _how_often(state: State, name: str, *, lock_too: bool) -> Sequence[pytest.MarkDecorator]:
    often = state is State.PROBATION and name in {"main.pin", "main.db"} and not lock_too
    return () if often else (pytest.mark.slow,)


def assert_whole_or_said(place: Place) -> None:
    """Started again until nothing changes: old or new, with every row; or a person is asked."""
    code = place.engine("resume")
    assert place.engine("resume") in {code, ExitCode.OK}
    lock = place.lock()
    if lock is not None:
        assert (code, lock.state) == (ExitCode.BROKEN, State.BROKEN)
        assert lock.reason
        assert place.cli("status")[0] == 0
        return
    schema, rows = place.rows()
    assert rows == ROWS
    used = place.home.current.readlink().name
    assert (used, schema) in {(place.tiny.id_of("v2"), 1), (place.tiny.id_of("v3"), 2)}


CASES = [
    pytest.param(state, name, lock_too, marks=_how_often(state, name, lock_too=lock_too))
    for state in (State.SNAPSHOTTED, State.PROBATION)
    for name in dict.fromkeys((*PINNED, *COPIED))
    for lock_too in (False, True)
]


@pytest.mark.parametrize(("state", "name", "lock_too"), CASES)
def test_a_damaged_file_of_a_snapshot_leads_to_a_whole_release_or_to_a_person(
    place: Place,
    state: State,
    name: str,
    lock_too: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if name in PINNED and name != "update.json":
        monkeypatch.setattr(pinnable, "PAYS_FROM_BYTES", 0)
        monkeypatch.setattr(files, "shares_blocks", lambda _: False)
    for damage in SOME:
        place.restore()
        interrupted(place, state)
        file = snapshot_of(place) / name
        if file.is_dir():
            file.rename(file.with_name("moved"))
        damage.do(file)
        if lock_too:
            place.home.lock.write_bytes(b"{")
        assert_whole_or_said(place)
        with contextlib.suppress(OSError):
            os.unlink(file)  # noqa: PTH108 - a pipe, which a copy of the home would wait for


@pytest.mark.parametrize(
    "damage", DAMAGE, ids=lambda damage: f"{damage.what} {damage.content!r:.9}"
)
def test_a_damaged_record_of_what_was_closed_for_a_snapshot_asks_for_a_person(
    place: Place, damage: Damage
) -> None:
    """Of a database on a server. Half of a snapshot was taken, and nobody knows of what."""
    interrupted(place, State.STOPPED)
    folder = place.home.backups / "in_flight" / "u1"
    folder.mkdir(parents=True)
    damage.do(folder / "main.clone")
    place.home.lock.write_bytes(b"{")
    code = place.engine("resume")
    known = damage.what == "nothing"
    assert code is (ExitCode.OK if known else ExitCode.BROKEN)
    if not known:
        lock = place.lock()
        assert lock is not None
        assert "main.clone cannot be read" in lock.reason
