"""A lock that is damaged in the middle of an update: what lies on the disk decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from surefoot import durable
from surefoot.errors import ExitCode
from surefoot.update.lock import Lock
from surefoot.update.states import State

if TYPE_CHECKING:
    from tests.damage.conftest import Place

ROWS = [f"row {number}" for number in range(10)]
DAMAGE = [b"", b"{", b'{"id":"x","schema":99}', b"[" * 100_000, b'{"id":"../../.."}', b"\xff\xfe"]


def assert_old(place: Place) -> None:
    assert place.tiny.id_of("v2") in place.home.current.readlink().name
    assert place.rows() == (1, ROWS)


def assert_new(place: Place) -> None:
    assert place.tiny.id_of("v3") in place.home.current.readlink().name
    assert place.rows() == (2, ROWS)


def interrupted(place: Place, state: State) -> str:
    update = place.ask("v3")
    assert place.engine("update", crash_at=state) is None
    return update


@pytest.mark.parametrize("content", DAMAGE)
def test_before_the_app_was_touched_it_is_left_alone(place: Place, content: bytes) -> None:
    update = interrupted(place, State.STAGED)
    place.home.lock.write_bytes(content)
    assert place.engine("resume") is ExitCode.OK
    assert not place.home.lock.exists()
    assert [f.read_bytes() for f in place.home.data.glob("UPDATE_LOCK.json.damaged-*")] == [content]
    assert_old(place)
    assert place.tiny.events(update)[-1] == "abandoned"  # whoever waits for it is answered


def test_a_release_that_has_taken_over_beside_the_old_one_is_committed(place: Place) -> None:
    """Nothing was migrated, so there is no snapshot to tell of it; `current` does."""
    update = interrupted(place, State.STAGED)
    durable.link(place.home.current, f"releases/{place.tiny.id_of('v3')}")
    place.home.lock.write_bytes(b"{")
    assert place.engine("resume") is ExitCode.OK
    assert not place.home.lock.exists()
    assert place.tiny.events(update)[-1] == "committed"
    assert place.tiny.ledger()["commits"][-1]["release"] == place.tiny.id_of("v3")


@pytest.mark.parametrize("state", [State.STOPPED, State.SNAPSHOTTED, State.MIGRATED])
def test_with_the_old_release_in_use_everything_goes_back(place: Place, state: State) -> None:
    update = interrupted(place, state)
    place.home.lock.write_bytes(b"\0" * 700)
    code = place.engine("resume")
    assert_old(place)
    assert code is (ExitCode.OK if state is State.STOPPED else ExitCode.ROLLED_BACK)
    if state is not State.STOPPED:
        assert "rolled_back" in place.tiny.events(update)


@pytest.mark.parametrize("state", [State.SWITCHED, State.PROBATION, State.COMMITTED])
def test_with_the_new_release_in_use_it_stays(place: Place, state: State) -> None:
    interrupted(place, state)
    place.home.lock.write_bytes(b"\0" * 700)
    assert place.engine("resume") is ExitCode.OK
    assert_new(place)
    assert not place.home.lock.exists()
    assert place.home.ledger.exists()


@pytest.mark.parametrize("state", [State.ROLLING_BACK, State.RESTORED])
def test_a_rollback_is_not_turned_round(place: Place, state: State) -> None:
    refused(place)
    assert place.engine("resume", crash_at=state) is None
    place.home.lock.write_bytes(b"damaged")
    code = place.engine("resume")
    if state is State.RESTORED:  # all was back, and what was to come is only the start
        assert code in {ExitCode.ROLLED_BACK, ExitCode.OK}
        assert_old(place)
    else:  # nothing had been put back yet: the new release is whole
        assert code is ExitCode.OK
        assert_new(place)


def test_a_rollback_between_database_and_code_is_carried_to_its_end(place: Place) -> None:
    refused(place)
    assert place.engine("resume", crash_at=State.ROLLING_BACK) is None
    blocker = place.home.root / ".current.new"  # where the next symlink is made
    blocker.mkdir()
    assert place.engine("resume", crash_before_retry=True) is None
    blocker.rmdir()
    assert place.rows() == (1, ROWS)
    assert place.home.current.readlink().name == place.tiny.id_of("v3")

    place.home.lock.write_bytes(b"damaged")
    assert place.engine("resume") is ExitCode.ROLLED_BACK
    assert_old(place)


def refused(place: Place) -> None:
    """v3 runs, and the next start will refuse it: it has been judged too often."""
    interrupted(place, State.PROBATION)
    update = place.lock()
    assert update is not None
    spent = {**update.attempts, State.PROBATION: 99}
    Lock(place.home).save(msgspec.structs.replace(update, attempts=spent))
