from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from surefoot.releases import Ledger

if TYPE_CHECKING:
    from surefoot.home import Home

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def load(home: Home) -> Ledger:
    return Ledger.load(home.ledger, now=NOW)


def test_commits_are_kept_in_order_and_on_the_disk(home: Home) -> None:
    for minute, release in enumerate(["a", "b", "a"]):
        load(home).record_commit(release, NOW + timedelta(minutes=minute))
    assert [commit.release for commit in load(home).commits] == ["a", "b", "a"]
    assert load(home).commits[1].at == NOW + timedelta(minutes=1)
    assert load(home).newest_first() == ["a", "b"]


def test_a_commit_recorded_again_after_a_crash_is_one_commit(home: Home) -> None:
    load(home).record_commit("a", NOW)
    load(home).record_commit("a", NOW + timedelta(seconds=9))
    assert len(load(home).commits) == 1
    assert load(home).previous() is None


def test_a_commit_ends_a_denial(home: Home) -> None:
    load(home).deny("a", "health", NOW)
    assert load(home).denied["a"].reason == "health"
    load(home).record_commit("a", NOW)
    assert load(home).denied == {}


def test_a_denied_release_can_be_forgiven(home: Home) -> None:
    load(home).deny("a", "health", NOW)
    load(home).forgive("a")
    load(home).forgive("b")
    assert load(home).denied == {}


def test_the_previous_release_is_the_last_good_one_before_the_present(home: Home) -> None:
    ledger = load(home)
    assert ledger.previous() is None
    for release in ["a", "b", "c"]:
        ledger.record_commit(release, NOW)
    assert ledger.previous() == "b"
    ledger.deny("c", "crashes", NOW)
    ledger.record_commit("b", NOW)
    assert ledger.previous() == "a"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema":2}', b"\xff\xfe", b'{"commits":[1]}'])
def test_a_damaged_ledger_is_kept_aside(home: Home, content: bytes) -> None:
    home.releases.mkdir()
    home.ledger.write_bytes(content)
    ledger = load(home)
    assert ledger.commits == []
    assert ledger.damaged is not None
    assert ledger.damaged.name.startswith("ledger.json.damaged-20300101T000000")
    assert ledger.damaged.read_bytes() == content
    ledger.record_commit("a", NOW)
    assert load(home).damaged is None
