"""Carries an update forward by the table in `states`, to its end or to where a person is needed.

One record says what was done and that the step after it is begun. So a crash at any instant finds
the same table again at the next start, with one attempt less.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from surefoot.errors import SurefootError
from surefoot.update.causes import cause_of
from surefoot.update.states import CLOSED, ENDED, RULES, State, is_spent, may_follow, rule_of

if TYPE_CHECKING:
    from surefoot.update.host import Host
    from surefoot.update.lock import Update

OUTPUT_LIMIT = 4000
"""Characters of a failed command's output that are kept."""


def carry(update: Update, host: Host) -> Update:
    """Takes the update as far as it goes: ended (and tidied up), or broken."""
    update = begin(update, host)
    while update.state not in ENDED and update.state is not State.BROKEN:
        update = advance(update, host)
    if update.state in ENDED:
        host.conclude(update)
    return update


def begin(update: Update, host: Host) -> Update:
    """Records that the step of this state is begun, for the first time or once more; where it was
    begun too often already, it has failed."""
    if update.state not in RULES:
        return update
    update = msgspec.structs.replace(
        update, overlaps=False
    )  # what ran beside is not known any more
    rule = RULES[update.state]
    begun = update.attempts.get(update.state, 0)
    if is_spent(update.state, begun):
        why = update.reason or f"The step `{rule.step}` was interrupted {begun} times."
        return _enter(rule.failed, msgspec.structs.replace(update, reason=why), host)
    update = _with_attempt(update)
    host.save(update)
    return update


def advance(update: Update, host: Host) -> Update:
    """The step that is begun, and the transition that it leads to; returns what is durable now."""
    rule = rule_of(update.state, overlaps=update.overlaps)
    begun_s = monotonic()
    try:
        after = getattr(host, rule.step)(update)
    except (SurefootError, OSError) as error:
        update = _failed(update, error)
        attempts = update.attempts.get(update.state, 0)
        if not rule.retry or is_spent(update.state, attempts):
            return _enter(rule.failed, update, host)
        host.pause(attempts)
        return begin(update, host)
    return _enter(rule.done, _with_duration(after, update, rule.step, monotonic() - begun_s), host)


def retry_rollback(update: Update, host: Host) -> Update:
    """A person asks to try once more what is broken, with a fresh budget."""
    update = _entered(State.ROLLING_BACK, msgspec.structs.replace(update, attempts={}))
    host.save(update)
    return update


def _enter(state: State, update: Update, host: Host) -> Update:
    update = _entered(state, update)
    if state in RULES:
        update = _with_attempt(update)
    host.save(update)
    return update


def _entered(state: State, update: Update) -> Update:
    if state not in may_follow(update.state):
        raise AssertionError(f"{update.state} cannot be followed by {state}")
    closes = state in CLOSED and update.state not in CLOSED
    since = datetime.now(UTC) if closes or state not in CLOSED else update.since
    return msgspec.structs.replace(update, state=state, since=since)


def _with_attempt(update: Update) -> Update:
    begun = update.attempts.get(update.state, 0)
    return msgspec.structs.replace(update, attempts={**update.attempts, update.state: begun + 1})


def _with_duration(after: Update, before: Update, step: str, took_s: float) -> Update:
    """What the host has booked under other names in this time is not this step's."""
    booked = sum(after.durations.values()) - sum(before.durations.values())
    spent = before.durations.get(step, 0.0) + max(took_s - booked, 0.0)
    return msgspec.structs.replace(after, durations={**after.durations, step: round(spent, 4)})


def _failed(update: Update, error: SurefootError | OSError) -> Update:
    """The first reason is the one that counts; what follows from it is added behind."""
    message = str(error)
    if update.reason:
        told = message in update.reason
        message = update.reason if told else f"{update.reason} Then: {message}"
    output = getattr(error, "output", "") or update.output
    return msgspec.structs.replace(
        update,
        reason=message or type(error).__name__,
        cause=update.cause or cause_of(update.state, error),
        output=output[-OUTPUT_LIMIT:],
    )
