from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from surefoot.app import lockfile, post_update_bootstrap_sync, update_service
from surefoot.update import states

if TYPE_CHECKING:
    from tests.app.conftest import Home


def test_without_a_lock_nothing_has_happened(home: Home) -> None:
    assert asyncio.run(update_service.post_update_bootstrap()).kind == "none"
    assert post_update_bootstrap_sync().kind == "none"
    assert home.root.exists()


def test_without_surefoot_nothing_has_happened(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_lock("probation")
    monkeypatch.delenv("SUREFOOT_HOME")
    assert post_update_bootstrap_sync().kind == "none"


@pytest.mark.parametrize("state", ["switched", "probation", "committed"])
def test_the_new_release_learns_what_it_came_from(home: Home, state: str) -> None:
    home.write_lock(state)
    result = post_update_bootstrap_sync()
    assert (result.kind, result.from_release, result.to_release) == ("updated", "aaa", "bbb")
    assert result.message == "Updated from aaa to v2."


@pytest.mark.parametrize("state", ["rolling_back", "restored", "rolled_back"])
def test_the_old_release_learns_why_it_is_back(home: Home, state: str) -> None:
    home.write_lock(state, reason="The migration failed.")
    result = post_update_bootstrap_sync()
    assert result.kind == "rolled_back"
    assert result.reason == "The migration failed."
    assert result.message.endswith("rolled back, aaa runs again: The migration failed.")


@pytest.mark.parametrize("state", ["requested", "staged", "abandoned"])
def test_an_update_that_has_not_touched_the_app_is_not_told(home: Home, state: str) -> None:
    home.write_lock(state)
    assert post_update_bootstrap_sync().kind == "none"


def test_the_first_release_comes_from_nothing(home: Home) -> None:
    home.write_lock("probation", **{"from": None})
    assert post_update_bootstrap_sync().message == "Updated from nothing to v2."


@pytest.mark.parametrize(
    "content",
    [b"", b'{"state":"prob', b"\x00\xff" * 500, b"[]", b"7", b'{"state":7}', b"[" * 100_000],
    ids=["empty", "torn", "binary", "list", "number", "no state", "deep"],
)
def test_a_damaged_lock_does_not_keep_the_app_from_starting(home: Home, content: bytes) -> None:
    home.lock.write_bytes(content)
    result = post_update_bootstrap_sync()
    assert result.kind == "unknown"
    assert "cannot be read" in result.reason


def test_a_lock_that_is_no_file_does_not_hold_the_app(home: Home) -> None:
    home.lock.mkdir()
    assert post_update_bootstrap_sync().kind == "unknown"
    home.lock.rmdir()
    os.mkfifo(home.lock)
    assert post_update_bootstrap_sync().kind == "unknown"
    home.lock.unlink()
    home.lock.symlink_to(home.lock)
    assert post_update_bootstrap_sync().kind == "unknown"


def test_a_release_that_runs_beside_the_old_one_knows_that_it_is_the_new_one(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_lock("staged", to="b")
    assert post_update_bootstrap_sync().kind == "none"
    monkeypatch.setenv("SUREFOOT_PRIVATE", "/run/private")
    assert post_update_bootstrap_sync().kind == "updated"


def test_fields_of_the_wrong_kind_are_left_out(home: Home) -> None:
    home.write_lock("probation", ref=["v2"], to=7)
    result = post_update_bootstrap_sync()
    assert (result.kind, result.ref, result.to_release) == ("updated", None, None)


def test_every_state_of_the_engine_has_a_meaning_here() -> None:
    assert {state.value for state in states.CLOSED} == lockfile.CLOSED_STATES


def test_the_import_brings_nothing_but_the_standard_library_and_no_event_loop() -> None:
    program = (
        "import sys; before = set(sys.modules); import surefoot.app; "
        "print(*sorted({m for m in set(sys.modules) - before}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names
    assert foreign == {"surefoot"}
    assert {name for name in loaded if name.startswith("surefoot.")} == {
        name for name in loaded if name.startswith("surefoot.app")
    }
    assert not {"asyncio", "json", "subprocess", "socket", "http"} & set(loaded)
