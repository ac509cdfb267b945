"""What a probe is, and what it has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Outcome:
    """One answer, or its lack."""

    healthy: bool
    detail: str
    """What was seen, in words that go on a sentence: `answered 500, expected 200`."""
    answered: bool = False
    """An answer came; with `healthy` false a definite "no", where silence or a 503 would be a
    "not yet"."""


class Probe(Protocol):
    """Asks one thing, once. Never raises for what the app does, and ends within its time limit."""

    @property
    def name(self) -> str: ...

    def probe(self) -> Outcome: ...

    def close(self) -> None: ...
