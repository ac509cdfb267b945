"""A database that cannot be put back: it is said, nothing pretends, and there is a way out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.damage.test_lock import ROWS, assert_old, interrupted, refused

from surefoot.errors import ExitCode
from surefoot.update.states import State

if TYPE_CHECKING:
    from pathlib import Path

    from tests.damage.conftest import Place


def snapshot_of(place: Place) -> Path:
    (folder,) = place.home.backups.glob("in_flight/[!.]*")
    return folder


def lose_the_snapshot(place: Place) -> None:
    """Copied or pinned: whatever it consists of."""
    for file in snapshot_of(place).rglob("*"):
        if file.is_file() and file.name != "update.json":
            file.write_bytes(b"")
            file.unlink()


def damage_both(place: Place) -> None:
    interrupted(place, State.MIGRATED)
    place.home.lock.write_bytes(b"{")
    (snapshot_of(place) / "update.json").write_bytes(b"{")


def test_with_lock_and_snapshot_damaged_nothing_is_started(place: Place) -> None:
    damage_both(place)
    assert place.engine("resume") is ExitCode.BROKEN
    assert place.played.said == []
    update = place.lock()
    assert update is not None
    assert update.state is State.BROKEN
    assert update.from_ == place.tiny.id_of("v2")
    code, out, _ = place.cli("status")
    assert code == 0
    assert "broken" in out


def test_a_rollback_without_a_snapshot_does_not_pretend(place: Place) -> None:
    damage_both(place)
    place.engine("resume")
    for _ in range(2):
        place.ask(kind="rollback")
        assert place.engine("update") is ExitCode.BROKEN
        assert "run" not in place.played.said
        assert "try" not in place.played.said
        update = place.lock()
        assert update is not None
        assert "surefoot restore BACKUP" in update.reason


def test_a_backup_is_the_way_out(place: Place) -> None:
    damage_both(place)
    place.engine("resume")
    newest = json.loads(place.cli("backups", "--json")[1])[0]["name"]
    place.ask(kind="restore", backup=newest)
    assert place.engine("update") is ExitCode.ROLLED_BACK
    assert not place.home.lock.exists()
    assert_old(place)
    assert place.played.said[-1] == "run"
    assert not list(place.home.backups.glob("in_flight/*"))


def test_a_lost_snapshot_is_broken_and_a_backup_mends_it(place: Place) -> None:
    refused(place)
    lose_the_snapshot(place)
    place.database.write_bytes(b"not what it was")
    assert place.engine("resume") is ExitCode.BROKEN
    assert "try" not in place.played.said
    update = place.lock()
    assert update is not None
    assert "cannot be put back" in update.reason or "surefoot backups" in update.reason
    assert place.engine("resume") is ExitCode.BROKEN  # not by itself
    newest = json.loads(place.cli("backups", "--json")[1])[0]["name"]
    place.ask(kind="restore", backup=newest)
    assert place.engine("update") is ExitCode.ROLLED_BACK
    assert_old(place)


def test_a_backup_of_another_release_is_refused(place: Place) -> None:
    damage_both(place)
    place.engine("resume")
    oldest = json.loads(place.cli("backups", "--json")[1])[-1]["name"]
    update = place.ask(kind="restore", backup=oldest)
    assert place.engine("update") is ExitCode.REFUSED
    assert place.tiny.events(update) == ["refused"]
    lock = place.lock()
    assert lock is not None
    assert lock.state is State.BROKEN


def test_what_is_broken_takes_no_update(place: Place) -> None:
    damage_both(place)
    place.engine("resume")
    update = place.ask("v3")
    assert place.engine("update") is ExitCode.REFUSED
    assert place.tiny.events(update) == ["refused"]


def test_an_old_release_that_has_vanished_is_made_again(place: Place) -> None:
    refused(place)
    place.tiny_release_is_lost("v2")
    assert place.engine("resume") is ExitCode.ROLLED_BACK
    assert_old(place)
    assert (place.home.current / "app" / "app.py").is_file()
    assert place.rows() == (1, ROWS)
