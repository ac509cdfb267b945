"""Every line that an update leaves is one of the known events, both ways."""

from __future__ import annotations

import ast
import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from surefoot.errors import BuildError, DatabaseError, HeldError, SourceError, StageError
from surefoot.update import events, history
from surefoot.update.causes import Cause, cause_of
from surefoot.update.states import ENDED, State

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = Path(events.__file__).parent


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


def test_every_event_that_is_appended_is_known() -> None:
    """The second argument of `append` and `append_once`, the first or second of `tell`."""
    found = set()
    for file in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"tell", "append", "append_once"}
            ):
                texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
                found |= {str(text) for text in texts[:1]}
    assert {"requested", "staged", "held", "migration_rehearsed", "pruned"} <= found
    assert found - set(events.KNOWN) == set()
    assert {str(state) for state in ENDED} | history.FINAL <= set(events.KNOWN)


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
