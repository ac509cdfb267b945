"""Puts a request, wakes the supervisor, and tells what comes of it."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import click
from rich.markup import escape

from surefoot import config, stored
from surefoot.cli.automatic import busy_note
from surefoot.cli.follow import EXIT_CODES, Follower
from surefoot.cli.main import INTERRUPTED
from surefoot.cli.output import console, emit, note
from surefoot.errors import DamagedError, ExitCode, SurefootError
from surefoot.update import asking
from surefoot.update.history import FINAL, History

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.status import Status

    from surefoot.home import Home
    from surefoot.update.history import Event
    from surefoot.update.requests import Request

_OUTPUT_LINES = 15

_OUTCOMES = {
    ExitCode.REFUSED: "refused",
    ExitCode.NOT_RUNNING: "not_running",
    ExitCode.TIMED_OUT: "timed_out",
}
"""What `--json` calls an error; any other is `failed`."""


def ask(
    home: Home,
    make: Callable[[], Request],
    *,
    wait: bool,
    until: str | None,
    timeout_s: float | None,
    as_json: bool,
) -> int:
    """Asks; returns the exit code. With `as_json` every outcome is one object on stdout."""
    stop_at = {"staged"} if until == "staged" else set()
    if not wait and until is None:
        stop_at = {"requested"}
    follower = None
    try:
        request = make()
        config.load(home.root)  # what is wrong there is told here, and not in the log
        if (said := busy_note(home)) is not None:
            note(said)
        follower = Follower(home, request, History(home).size(), timeout_s)
        asking.put(home, request)
        last = _watched(home, follower, frozenset(stop_at), as_json=as_json)
    except KeyboardInterrupt:
        click.echo("\nThe update goes on in the supervisor: see `surefoot status`.", err=True)
        return INTERRUPTED
    except SurefootError as error:
        if not as_json:
            raise
        outcome = _OUTCOMES.get(error.exit_code, "failed")
        emit(_answer(follower, outcome, reason=str(error)))
        return error.exit_code
    if as_json:
        emit(_answer(follower, last.event, reason=_reason(last)))
    elif last.event not in FINAL:
        click.echo("It goes on in the supervisor: see `surefoot status`.")
    return EXIT_CODES[last.event]


def _watched(home: Home, follower: Follower, stop_at: frozenset[str], *, as_json: bool) -> Event:
    """Shows every event; returns the last. The end of stdout is how it ended."""
    with _Screen(home.progress, as_json=as_json) as screen:
        for event in follower.events(stop_at, screen.idle):
            screen.show(event)
    return event


class _Screen:
    """A line for each event; on a terminal also what is being done now, and for how long."""

    def __init__(self, progress: Path, *, as_json: bool) -> None:
        self._progress = progress
        self._console = console(err=as_json)
        self._status: Status | None = None
        self._doing = "Waiting to be taken up."
        self._begin = datetime.now(UTC)
        self._doing_since = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status(self._doing)
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def idle(self) -> None:
        if self._status is not None:
            elapsed_s = (datetime.now(UTC) - self._begin).total_seconds()
            self._status.update(f"{self._doing} ({elapsed_s:.0f} s) {self._at()}")

    def show(self, event: Event) -> None:
        text = " ".join((event.text or event.event).split())
        if event.event in FINAL:
            for line in str(event.facts.get("output", "")).strip().splitlines()[-_OUTPUT_LINES:]:
                self._print(f"         |  {line}")
            self._print(text)  # the last line, as it is: for whoever reads by program
            return
        self._doing = text
        self._doing_since = event.at.timestamp()
        elapsed_s = (event.at - self._begin).total_seconds()
        self._print(f"{max(elapsed_s, 0):7.1f} s  {text}")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def _at(self) -> str:
        """What a slow command has printed last."""
        if self._doing_since > self._shown_at():
            return ""
        with contextlib.suppress(OSError, DamagedError):
            shown = stored.read(self._progress).decode("utf-8", errors="replace")
            return escape(shown.strip()[:60])
        return ""

    def _shown_at(self) -> float:
        with contextlib.suppress(OSError):
            return self._progress.stat().st_mtime
        return 0.0


def _reason(event: Event) -> str:
    return str(event.facts.get("reason") or "") or (event.text if event.event in FINAL else "")


def _answer(follower: Follower | None, outcome: str, *, reason: str) -> dict[str, Any]:
    request = follower.request if follower else None
    facts = follower.facts if follower else {}
    return {
        "outcome": outcome,
        "update": request.id if request else None,
        "kind": request.kind if request else None,
        "from": facts.get("from"),
        "to": facts.get("to"),
        "ref": facts.get("ref"),
        "reason": reason,
        "output": facts.get("output", ""),
        "durations": facts.get("durations", {}),
    }
