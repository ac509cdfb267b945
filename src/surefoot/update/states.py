"""The states of an update, and the one table that says what may follow what.

Pure: no I/O, no clock. Whoever carries an update forward looks up here what is to be done in its
state, where success leads and where failure leads; nothing else decides.

    requested → staged → stopped → snapshotted → migrated → switched → probation → accepted
        │          │         └───────────┴──────────┴──────────┴───────────┘           │
        ▼          ▼                                ▼                                  ▼
    abandoned  abandoned                       rolling_back → restored → rolled_back  committed
                                                    │
                                                    ▼
                                                 broken

A release that can live beside the old one takes another way, on which nobody waits:

    staged → proven → committed

Whatever is interrupted on it goes on from there by the ordinary way.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The last thing that is durably done."""

    REQUESTED = "requested"
    STAGED = "staged"
    PROVEN = "proven"
    """Found healthy beside the old release, which serves."""
    STOPPED = "stopped"
    SNAPSHOTTED = "snapshotted"
    MIGRATED = "migrated"
    SWITCHED = "switched"
    PROBATION = "probation"
    ACCEPTED = "accepted"
    """Found healthy: nothing is put back any more."""
    COMMITTED = "committed"
    """Nothing can be put back any more, and the gate is open."""
    ABANDONED = "abandoned"
    ROLLING_BACK = "rolling_back"
    RESTORED = "restored"
    """Database and code are back, for good: what is written from here on is never taken back."""
    ROLLED_BACK = "rolled_back"
    BROKEN = "broken"


class Step(StrEnum):
    """What is done in a state, to get to the next one."""

    STAGE = "stage"
    OVERLAP = "overlap"
    TAKE_OVER = "take_over"
    STOP = "stop"
    SNAPSHOT = "snapshot"
    MIGRATE = "migrate"
    SWITCH = "switch"
    START = "start"
    JUDGE = "judge"
    OPEN = "open"
    PUT_BACK = "put_back"
    RESUME_OLD = "resume_old"


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    step: Step
    done: State
    failed: State
    attempts: int
    """How often the step may be begun in one update, crashes included."""
    retry: bool = False
    """Whether a failure is tried again while there are attempts left."""


RULES: dict[State, Rule] = {
    State.REQUESTED: Rule(Step.STAGE, State.STAGED, State.ABANDONED, attempts=3),
    State.STAGED: Rule(Step.STOP, State.STOPPED, State.ABANDONED, attempts=3),
    State.PROVEN: Rule(Step.STOP, State.STOPPED, State.ROLLING_BACK, attempts=3),
    State.STOPPED: Rule(Step.SNAPSHOT, State.SNAPSHOTTED, State.ROLLING_BACK, attempts=3),
    State.SNAPSHOTTED: Rule(Step.MIGRATE, State.MIGRATED, State.ROLLING_BACK, attempts=3),
    State.MIGRATED: Rule(Step.SWITCH, State.SWITCHED, State.ROLLING_BACK, attempts=3),
    State.SWITCHED: Rule(Step.START, State.PROBATION, State.ROLLING_BACK, attempts=3),
    State.PROBATION: Rule(Step.JUDGE, State.ACCEPTED, State.ROLLING_BACK, attempts=3),
    State.ACCEPTED: Rule(Step.OPEN, State.COMMITTED, State.COMMITTED, attempts=3, retry=True),
    State.ROLLING_BACK: Rule(Step.PUT_BACK, State.RESTORED, State.BROKEN, attempts=5, retry=True),
    # The old release is judged too, but whatever the verdict: nothing is left to put back.
    State.RESTORED: Rule(Step.RESUME_OLD, State.ROLLED_BACK, State.ROLLED_BACK, attempts=3),
}

OVERLAPPING: dict[State, Rule] = {
    State.STAGED: Rule(Step.OVERLAP, State.PROVEN, State.ABANDONED, attempts=3),
    State.PROVEN: Rule(Step.TAKE_OVER, State.COMMITTED, State.ROLLING_BACK, attempts=3),
}
"""What goes before RULES while a release lives beside the old one."""

ENDED = frozenset({State.COMMITTED, State.ABANDONED, State.ROLLED_BACK})
"""Nothing is left to do but to tidy up and to remove the lock."""

CLOSED = frozenset(
    {
        State.STOPPED,
        State.SNAPSHOTTED,
        State.MIGRATED,
        State.SWITCHED,
        State.PROBATION,
        State.ACCEPTED,
        State.ROLLING_BACK,
        State.BROKEN,
    }
)
"""The gate keeps the public out: what was written now might still be taken back. A state can be
seen before it is on the disk, so the verdict has a closed state of its own: whoever sees the commit
knows that the verdict lasts."""

UNTOUCHED = frozenset({State.REQUESTED, State.STAGED, State.ABANDONED})
"""The app has not been touched: the old release may serve."""


def rule_of(state: State, *, overlaps: bool) -> Rule:
    """The row of the table that holds. Raises KeyError for a state in which nothing is done."""
    return (OVERLAPPING.get(state) if overlaps else None) or RULES[state]


def may_follow(state: State) -> frozenset[State]:
    """Every state that can come right after this one."""
    if state is State.BROKEN:
        return frozenset({State.ROLLING_BACK})  # only when a person asks for it
    if state in ENDED:
        return frozenset()
    rules = [table[state] for table in (RULES, OVERLAPPING) if state in table]
    return frozenset(after for rule in rules for after in (rule.done, rule.failed))


def is_spent(state: State, begun: int) -> bool:
    """Whether the step of this state has been begun as often as it may be."""
    return begun >= RULES[state].attempts
