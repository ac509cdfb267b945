"""The history, for people and for programs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from surefoot.update.history import Event, History

if TYPE_CHECKING:
    from tests.cli.conftest import Commands


def events(run: Commands, *options: str) -> list[tuple[str, str]]:
    found = run("history", "--json", *options).json
    return [(e["update"], e["event"]) for e in found]


def test_the_history_can_be_narrowed_by_update_event_and_number(run: Commands) -> None:
    history = History(run.home)
    for update in ("u1", "u2"):
        for event in ("requested", "staged", "committed"):
            history.append(update, event, f"{event} in a\nsentence", to="b")

    assert len(events(run)) == 6
    assert events(run, "--update", "u2", "--limit", "1") == [("u2", "committed")]
    assert events(run, "--event", "staged") == [("u1", "staged"), ("u2", "staged")]
    lines = run("history", "--limit", "2").out.splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("committed in a sentence")


def test_the_history_can_be_narrowed_by_outcome_release_and_time(run: Commands) -> None:
    now = datetime.now(UTC)
    lines = [
        Event(at=now - timedelta(days=9), update="u1", event="rolled_back", facts={"to": "aa1"}),
        Event(at=now - timedelta(days=2), update="u2", event="committed", facts={"to": "bb2"}),
        Event(at=now - timedelta(hours=1), update="u3", event="rolled_back", facts={"to": "bb2"}),
        Event(at=now, update="u4", event="checked"),
    ]
    run.home.history.write_bytes(b"".join(msgspec.json.encode(e) + b"\n" for e in lines))
    assert events(run, "--outcome", "rolled_back") == [("u1", "rolled_back"), ("u3", "rolled_back")]
    assert events(run, "--since", "7d") == [("u2", "committed"), ("u3", "rolled_back")]
    assert events(run, "--since", (now - timedelta(days=3)).isoformat()) == events(
        run, "--since", "4d"
    )
    assert events(run, "--release", "bb2", "--outcome", "rolled_back") == [("u3", "rolled_back")]
    assert events(run, "--event", "checked") == [("u4", "checked")]
    assert run("history", "--since", "yesterdayish").code == 2


FACTS: dict[str, Any] = {"from": "a", "to": "b", "ref": "v2"}


@pytest.fixture
def failed(run: Commands) -> str:
    """The id of an update whose migration failed."""
    history = History(run.home)
    history.append("u1", "requested", "Update: a to b.", **FACTS)
    history.append("u1", "stopped", "The app has ended; the gate is closed.")
    history.append(
        "u1", "rolled_back", "Rolled back.", reason="The migration failed.", cause="migration",
        output="line 1\nno such table: words", durations={"stage": 4.0, "window": 1.0},
        kind="update", origin="schedule", **FACTS,
    )  # fmt: skip
    history.append("u2", "refused", "No.", reason="No.")
    return "u1"


def test_one_update_is_told_in_full(run: Commands, failed: str) -> None:
    told = run("history", failed).out
    assert "From a to b (v2)" in told
    assert "rolled back (migration)" in told
    assert "no such table: words" in told
    [stage, window] = (line for line in told.splitlines() if "█" in line)
    assert (stage.split()[:3], window.split()[:3]) == (
        ["stage", "4.0", "s"],
        ["window", "1.0", "s"],
    )
    assert len(stage.split()[-1]) == 4 * len(window.split()[-1])


def test_where_the_app_may_have_said_more_that_is_told(run: Commands, failed: str) -> None:
    elsewhere = "stands where `surefoot run` prints"
    assert elsewhere not in run("history", failed).out
    History(run.home).append("u3", "rolled_back", "Rolled back.", cause="unhealthy", **FACTS)
    assert elsewhere in run("history", "u3").out


def test_one_update_is_told_to_programs(run: Commands, failed: str) -> None:
    report = run("history", failed, "--json").json
    assert [e["event"] for e in report["events"]] == ["requested", "stopped", "rolled_back"]
    assert report["cause"] == "migration"
    assert report["durations"] == {"stage": 4.0, "window": 1.0}
    assert run("history", "last", "--json").json["update"] == "u2"


def test_an_update_in_flight_is_told_as_far_as_it_is(run: Commands) -> None:
    History(run.home).append("u1", "requested", "Update: a to b.", to="b")
    assert "has not ended" in run("history", "u1").out
    assert run("history", "u1", "--json").json["outcome"] is None


def test_an_update_that_never_was_is_said_so(run: Commands) -> None:
    answer = run("history", "u9")
    assert answer.code == 1
    assert answer.err.startswith("surefoot: The history knows no update u9.")
