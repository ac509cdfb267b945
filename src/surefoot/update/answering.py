"""Answering a request by which no update is begun: in the history, and to whoever has asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surefoot.errors import ExitCode, RefusedError, SurefootError
from surefoot.update import requests
from surefoot.update.causes import cause_of
from surefoot.update.history import History
from surefoot.update.states import State

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.update.requests import Request


class AnsweredError(SurefootError):
    """There is nothing to be done; the history says so by this event."""

    def __init__(self, event: str, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.event = event
        self.code = code


def answer(
    home: Home, history: History, request: Request, error: SurefootError | OSError
) -> ExitCode:
    """Says why it comes to nothing, and withdraws the request, even where that cannot be said."""
    event, code = "abandoned", ExitCode.ABANDONED
    if isinstance(error, SurefootError):
        code = error.exit_code
    if isinstance(error, AnsweredError):
        event, code = error.event, error.code
    elif isinstance(error, RefusedError):
        event = "refused"
    reason, output = str(error), getattr(error, "output", "")
    facts = {"kind": request.kind, "origin": request.origin, "output": output}
    if event == "abandoned":
        facts["cause"] = cause_of(State.REQUESTED, error)
    elif request.by:
        facts["by"] = request.by
    try:
        if event != "abandoned" and request.origin == "schedule":
            history.append(request.id, "checked", reason, outcome=event)
        else:
            history.append(request.id, event, reason, lasting=True, reason=reason, **facts)
    finally:
        requests.withdraw(home, request)
    return code


def answer_unconfigured(home: Home, error: SurefootError) -> None:
    """Answers the request that waits where there is no configuration to work by."""
    request = requests.waiting(home)
    if request is not None:
        try:
            History(home).append(request.id, "refused", str(error), reason=str(error))
        finally:
            requests.withdraw(home, request)
