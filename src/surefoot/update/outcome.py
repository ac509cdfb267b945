"""How an update has ended: its last event, in facts and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surefoot.update import databases
from surefoot.update.causes import Cause
from surefoot.update.states import State, Step

if TYPE_CHECKING:
    from surefoot.update.lock import Update

SHOWN = (
    *(Step.STOP, Step.SNAPSHOT, Step.MIGRATE, Step.SWITCH, Step.START, Step.JUDGE),
    *(Step.PUT_BACK, Step.RESUME_OLD),
)
"""The steps that take time from users."""


def facts(update: Update, hold_s: float) -> dict[str, Any]:
    """For whoever reads the history by program. `hold_s`: after so long the gate answers."""
    return {
        "kind": update.kind,
        "origin": update.origin,
        "from": update.from_,
        "to": update.to,
        "ref": update.ref,
        "reason": update.reason,
        "cause": _cause(update),
        "output": update.output,
        "healthy": update.healthy,
        "durations": update.durations | _waits(update, hold_s),
        "snapshots": databases.ways(update),
        "turned_away": update.turned_away,
    }


def told(update: Update) -> str:
    """The same for a person, in a sentence or two."""
    return f"{_outcome(update)}{_away(update)}"


def _waits(update: Update, hold_s: float) -> dict[str, float]:
    """How long the app was away, and what nobody has waited longer than: until the gate began to
    answer, or from when it stopped answering until the app did."""
    if update.window_s is None or update.opened_at is None or update.waiting_since is None:
        return {}
    at_last = max((update.opened_at - update.waiting_since).total_seconds(), 0.0)
    longest_s = max(at_last, min(hold_s, update.window_s) if update.turned_away else 0.0)
    return {"window": round(update.window_s, 4), "longest_wait": round(longest_s, 4)}


def _cause(update: Update) -> str | None:
    if update.cause or update.state is State.COMMITTED:
        by_hand = update.kind == "rollback" and not update.cause
        return Cause.BY_HAND if by_hand else update.cause or None
    return Cause.INTERRUPTED  # no step has failed, but one was begun too often


def _outcome(update: Update) -> str:
    match update.state:
        case State.COMMITTED if update.kind == "restore":
            return f"Restored backup {update.backup}."
        case State.COMMITTED:
            return f"Committed: release {update.to} serves."
        case State.ABANDONED:
            return f"Abandoned, the app was not touched: {update.reason}"
        case _ if update.from_ is None:
            return f"Rolled back; there is no release before this one: {update.reason}"
        case _:
            return f"Rolled back, release {update.from_} serves: {update.reason}"


def _away(update: Update) -> str:
    """How long the app was away, for whom, and what for."""
    if update.overlaps and update.state is State.COMMITTED:
        return " It took over while the old one served: nobody waited."
    if update.window_s is None or update.from_ is None:
        return ""
    took = ", ".join(
        f"{'probation' if step is Step.JUDGE else step} {update.durations[step]:.2f}"
        for step in SHOWN
        if step in update.durations
    )
    answered = (
        ""
        if not update.turned_away
        else (f"; {counted(update.turned_away, 'client')} got the maintenance answer")
    )
    return f" It was away for {update.window_s:.2f} s ({took}){answered}."


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
