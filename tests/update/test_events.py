"""Every line that an update leaves is one of the known events, both ways."""

from __future__ import annotations

import ast
import dataclasses
import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surefoot.errors import BuildError, DatabaseError, HeldError, SourceError, StageError
from surefoot.home import Home
from surefoot.update import events, history, hold
from surefoot.update.causes import Cause, cause_of
from surefoot.update.states import ENDED, State

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = Path(events.__file__).parents[1]


@pytest.mark.parametrize("kind", events.KNOWN.values(), ids=events.KNOWN)
def test_an_event_is_read_as_it_was_recorded(kind: type[events.Event]) -> None:
    event = kind(at=NOW, update="u1", text="It happened.")
    if isinstance(event, events.Ended):
        event = kind(  # type: ignore[call-arg]
            at=NOW, update="u1", from_="a", to="b", cause=Cause.MIGRATION, durations={"stop": 0.5}
        )
    line = events.record(event)
    assert events.of(line) == event
    assert "from_" not in line.facts


def test_every_event_that_is_appended_is_known_with_its_facts() -> None:
    """Wherever Surefoot writes to the history: the engine, the command line, the dashboard."""
    found: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        for name, facts in appended(ast.parse(file.read_text())):
            found.setdefault(name, set()).update(facts)
    assert {"requested", "staged", "held", "migration_rehearsed", "pruned"} <= set(found)
    assert {"hold_placed", "hold_released", "allowed", "postponed", "refused"} <= set(found)
    assert set(found) - set(events.KNOWN) == set()
    assert {str(state) for state in ENDED} | history.FINAL <= set(events.KNOWN)
    for name, facts in found.items():
        fields = {field.name for field in dataclasses.fields(events.KNOWN[name])}
        assert facts - fields == set(), name


def appended(module: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """The event and the facts that are named in a call of `append`, `append_once` or `tell`: it is
    the first or second argument, and never the only one."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and len(node.args) > 1:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
            if called.lstrip("_") in {"tell", "append", "append_once"} and texts:
                yield str(texts[0]), {k.arg for k in node.keywords if k.arg} - {"lasting"}


def test_who_holds_updates_and_why_is_read_from_the_history(tmp_path: Path) -> None:
    home = Home(tmp_path)
    hold.place(home, by="ada", reason="The fair is on.")
    hold.release(home, by="ben")
    placed, released = (events.of(line) for line in history.History(home).read())
    assert isinstance(placed, events.HoldPlaced)
    assert (placed.by, placed.reason) == ("ada", "The fair is on.")
    assert isinstance(released, events.HoldReleased)
    assert released.by == "ben"


def test_what_a_newer_surefoot_has_written_is_no_error() -> None:
    line = history.Event(at=NOW, update="u1", event="teleported", facts={"where": [1]})
    event = events.of(line)
    assert isinstance(event, events.Other)
    assert events.record(event) == line


def test_a_damaged_fact_costs_only_itself() -> None:
    facts = {"from": 7, "to": "b", "cause": "martians", "durations": {"stop": "long"}, "new": 1}
    event = events.of(history.Event(at=NOW, update="u1", event="rolled_back", facts=facts))
    assert event == events.RolledBack(at=NOW, update="u1", to="b", cause=Cause.UNKNOWN)


@pytest.mark.parametrize(
    ("state", "error", "cause"),
    [
        (State.REQUESTED, SourceError("x"), Cause.SOURCE),
        (State.REQUESTED, BuildError("x"), Cause.BUILD),
        (State.REQUESTED, HeldError("x"), Cause.HELD),
        (State.REQUESTED, StageError("x"), Cause.STAGING),
        (State.SNAPSHOTTED, DatabaseError("x"), Cause.MIGRATION),
        (State.SNAPSHOTTED, OSError(errno.ENOSPC, "full"), Cause.NO_ROOM),
        (State.PROBATION, StageError("x"), Cause.UNHEALTHY),
        (State.ROLLING_BACK, OSError("x"), Cause.UNKNOWN),
    ],
)
def test_the_cause_is_what_went_wrong_first(state: State, error: Exception, cause: Cause) -> None:
    assert cause_of(state, error) is cause
