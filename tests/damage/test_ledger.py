"""A ledger that is lost: the history remembers what may be gone back to, and what must not come
again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from surefoot.errors import ExitCode
from surefoot.update import remembered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.damage.conftest import Place


def in_its_place(file: Path, make: Callable[[Path], None]) -> None:
    file.unlink()
    make(file)


LOSSES: dict[str, Callable[[Path], object]] = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "newer": lambda file: file.write_bytes(b'{"schema":2}'),
    "a time without a zone": lambda file: file.write_bytes(
        b'{"commits":[["aaaaaaaaaaaa","2026-01-01T00:00:00",{}]]}'
    ),
    "a folder": lambda file: in_its_place(file, lambda it: it.mkdir()),
    "a loop": lambda file: in_its_place(file, lambda it: it.symlink_to(it.name)),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_the_denylist_and_the_release_before_survive(place: Place, loss: str) -> None:
    place.ask("v3")
    assert place.engine("update") is ExitCode.OK  # v3
    denied = "0123456789ab"
    remembered.ledger(place.home).deny(denied, "It was ill.", place.now)
    place.history_says("rolled_back", **{"from": place.tiny.id_of("v2"), "to": denied})
    known = remembered.ledger(place.home)
    before = [c.release for c in known.commits], known.previous(), set(known.denied)
    schemas = known.commits[-1].schemas
    LOSSES[loss](place.home.ledger)

    seen, problem = remembered.seen_ledger(place.home)
    assert bool(problem) == (loss != "gone")
    for ledger in (seen, remembered.ledger(place.home), remembered.ledger(place.home)):
        assert (
            [c.release for c in ledger.commits],
            ledger.previous(),
            set(ledger.denied),
        ) == before
        assert ledger.commits[-1].schemas == schemas != {}
        assert ledger.denied[denied].reason == "It was ill."
    assert len(list(place.home.releases.glob("ledger.json.damaged-*"))) == (loss != "gone")


def test_a_rollback_finds_its_way_without_the_ledger(place: Place) -> None:
    place.home.ledger.write_bytes(b"{")
    place.ask(kind="rollback")
    assert place.engine("update") is ExitCode.OK
    assert place.home.current.readlink().name == place.tiny.id_of("v1")


def test_a_release_that_was_left_is_not_taken_again_without_the_ledger(place: Place) -> None:
    place.ask(kind="rollback")
    assert place.engine("update") is ExitCode.OK
    place.home.ledger.write_bytes(b"\xff")
    place.tiny.repository.follow("v2")
    try:
        assert place.engine("update") is ExitCode.REFUSED
    finally:
        place.tiny.repository.follow("v3")
    assert place.home.current.readlink().name == place.tiny.id_of("v1")


def test_with_history_and_ledger_lost_the_update_goes_on(place: Place) -> None:
    place.home.ledger.write_bytes(b"{")
    place.home.history.unlink()
    place.home.history.mkdir()
    assert place.engine("update") is ExitCode.OK
    assert place.home.current.readlink().name == place.tiny.id_of("v3")
    assert place.home.history.is_file()
    assert len(list(place.home.data.glob("update_history.jsonl.damaged-*"))) == 1


def test_a_history_that_is_somebody_elses_is_kept_aside(place: Place) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read and write everything")
    place.home.history.chmod(0)
    assert place.engine("update") is ExitCode.OK
    assert place.home.history.is_file()


def test_a_damaged_request_is_kept_aside_and_the_next_one_is_taken_up(place: Place) -> None:
    place.home.run.mkdir(exist_ok=True)
    place.home.request.mkdir()
    place.engine("update")
    assert not place.home.request.exists()
    place.ask("bad")
    assert place.engine("update") is not None


def test_progress_never_follows_a_link(place: Place) -> None:
    place.home.run.mkdir(exist_ok=True)
    before = place.database.read_bytes()
    place.home.progress.symlink_to(place.database)
    place.engine("update")
    assert place.rows()[1]
    assert place.database.read_bytes()[:16] == before[:16]


def test_current_that_is_a_folder_is_refused(place: Place) -> None:
    place.home.current.unlink()
    place.home.current.mkdir()
    update = place.ask("v3")
    assert place.engine("update") is ExitCode.REFUSED
    assert place.tiny.events(update) == ["refused"]
    assert place.home.current.is_dir()


@pytest.mark.parametrize("target", ["/", "..", "releases", "releases/nothing", "data", "current"])
def test_current_that_leads_elsewhere_is_recovered(place: Place, target: str) -> None:
    place.home.current.unlink()
    place.home.current.symlink_to(target)
    assert place.engine("update") is ExitCode.OK
    assert place.home.current.readlink().name == place.tiny.id_of("v2")
    assert "recovered" in place.tiny.events()
