"""Carries an update forward by the table in `states`, to its end or to where a person is needed.

Before a step, its beginning is recorded; after it, its result. So a crash at any instant finds the
same table again at the next start, with one attempt less.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from surefoot.errors import SurefootError
from surefoot.update.causes import cause_of
from surefoot.update.states import CLOSED, ENDED, RULES, State, is_spent, may_follow

if TYPE_CHECKING:
    from surefoot.update.host import Host
    from surefoot.update.lock import Update

OUTPUT_LIMIT = 4000
"""Characters of a failed command's output that are kept."""


def carry(update: Update, host: Host) -> Update:
    """Takes the update as far as it goes: ended (and tidied up), or broken."""
    while update.state not in ENDED and update.state is not State.BROKEN:
        update = advance(update, host)
    if update.state in ENDED:
        host.conclude(update)
    return update


def advance(update: Update, host: Host) -> Update:
    """One step and the transition that it leads to; returns what is durable now."""
    rule = RULES[update.state]
    begun = update.attempts.get(update.state, 0)
    if is_spent(update.state, begun):
        why = update.reason or f"The step `{rule.step}` was interrupted {begun} times."
        return _enter(rule.failed, msgspec.structs.replace(update, reason=why), host)
    update = msgspec.structs.replace(update, attempts={**update.attempts, update.state: begun + 1})
    host.save(update)
    begin = monotonic()
    try:
        update = getattr(host, rule.step)(update)
    except (SurefootError, OSError) as error:
        update = _failed(update, error)
        if not rule.retry or is_spent(update.state, begun + 1):
            return _enter(rule.failed, update, host)
        host.pause(begun + 1)
        return update
    spent = update.durations.get(rule.step, 0.0) + monotonic() - begin
    update = msgspec.structs.replace(
        update, durations={**update.durations, rule.step: round(spent, 4)}
    )
    return _enter(rule.done, update, host)


def retry_rollback(update: Update, host: Host) -> Update:
    """A person asks to try once more what is broken, with a fresh budget."""
    update = msgspec.structs.replace(update, attempts={})
    return _enter(State.ROLLING_BACK, update, host)


def _enter(state: State, update: Update, host: Host) -> Update:
    if state not in may_follow(update.state):
        raise AssertionError(f"{update.state} cannot be followed by {state}")
    closes = state in CLOSED and update.state not in CLOSED
    since = datetime.now(UTC) if closes or state not in CLOSED else update.since
    update = msgspec.structs.replace(update, state=state, since=since)
    host.save(update)
    return update


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
