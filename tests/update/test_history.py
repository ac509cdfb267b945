from pathlib import Path

import pytest

from surefoot.home import Home
from surefoot.update.history import History


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_events_are_read_in_the_order_in_which_they_happened(home: Home) -> None:
    history = History(home)
    for event in ("requested", "staged", "committed"):
        history.append("u1", event, f"It {event}.", to="b")
    assert [e.event for e in history.read()] == ["requested", "staged", "committed"]
    assert next(history.read()).facts == {"to": "b"}


def test_a_line_torn_by_a_crash_costs_only_itself(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    with home.history.open("ab") as file:
        file.write(b'{"at":"2026-01-')
    assert [e.event for e in history.read()] == ["requested"]
    history.append("u1", "staged")
    assert [e.event for e in history.read()] == ["requested", "staged"]


def test_a_repeated_end_is_told_once(home: Home) -> None:
    history = History(home)
    history.append_once("u1", "committed")
    history.append_once("u1", "committed")
    history.append_once("u2", "committed")
    assert [e.update for e in history.read()] == ["u1", "u2"]


def test_a_follower_goes_on_where_it_stopped(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    [(_, offset)] = history.follow()
    history.append("u1", "staged")
    assert [e.event for e, _ in history.follow(offset)] == ["staged"]


def test_rubbish_in_the_history_is_skipped(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    with home.history.open("ab") as file:
        file.write(b"\xff\xfe\nnull\n{}\n[1]\n")
    history.append("u1", "staged")
    assert [e.event for e in history.read()] == ["requested", "staged"]
