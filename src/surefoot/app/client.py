"""Asks the engine, through Surefoot's own command line and in its own Python.

The app's interpreter, its dependencies and its working folder play no part in the update.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from surefoot.app import surroundings
from surefoot.app.errors import NotSupervised, UpdateAbandoned, UpdateError, UpdateRefused

# surefoot.errors.ExitCode, which the app's side does not import.
REFUSED, NOT_RUNNING, ABANDONED = 4, 5, 6
OUTPUT_LIMIT = 500


@dataclass(frozen=True)
class UpdateResult:
    """The answer to a request that was not turned down."""

    outcome: str
    """`staged`: the release is ready and the app is about to end. `up_to_date`: nothing to do."""
    update: str = ""
    from_release: str | None = None
    to_release: str | None = None
    reason: str = ""


def command(*arguments: str) -> list[str]:
    """The command line that asks. Raises NotSupervised without a supervisor."""
    surroundings.supervised_home()
    python = os.environ.get("SUREFOOT_PYTHON")
    if not python:
        raise NotSupervised("SUREFOOT_PYTHON is not set. Start the app with `surefoot run`.")
    return [python, "-I", "-m", "surefoot", *arguments]


def not_started(error: OSError) -> NotSupervised:
    return NotSupervised(f"Surefoot cannot be started: {error}. The app goes on.")


def understand(code: int, output: bytes, problem: bytes) -> UpdateResult:
    """The answer in what the command has printed. Raises UpdateError when it is a no."""
    facts = _facts(output)
    outcome = str(facts.get("outcome", ""))
    if code == 0 and outcome in {"staged", "up_to_date"}:
        return UpdateResult(
            outcome,
            str(facts.get("update") or ""),
            facts.get("from"),
            facts.get("to"),
            str(facts.get("reason") or ""),
        )
    said = problem.decode(errors="replace").strip()[-OUTPUT_LIMIT:]
    reason = str(facts.get("reason") or said or f"`surefoot` ended with exit code {code}.")
    if outcome == "refused" or code == REFUSED:
        raise UpdateRefused(reason)
    if outcome == "abandoned" or code == ABANDONED:
        raise UpdateAbandoned(reason)
    if code == NOT_RUNNING:
        raise NotSupervised(reason)
    raise UpdateError(reason)


def _facts(output: bytes) -> dict[str, str | None]:
    import json

    lines = output.strip().splitlines()
    for text in (output, lines[-1] if lines else b""):
        try:
            facts = json.loads(text)
        except ValueError:
            continue
        if isinstance(facts, dict):
            return facts
    return {}
