"""What a check is, and what it may find."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from surefoot.errors import SurefootError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from surefoot.config import Config
    from surefoot.home import Home


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Updates work, but something is not as it might be expected."""
    PROBLEM = "problem"
    """The app or its next update will not work."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    text: str
    to_do: str = ""


@dataclass(frozen=True)
class Subject:
    """What is looked at."""

    home: Home
    config: Config | None
    """None where it cannot be loaded."""
    config_problem: str
    running: bool
    """Whether a supervisor is running."""

    @property
    def settings(self) -> Config:
        """For checks that are only made with a configuration."""
        if self.config is None:
            raise SurefootError(self.config_problem)
        return self.config


@dataclass(frozen=True)
class Check:
    """One thing to look at."""

    name: str
    look: Callable[[Subject], Iterator[Finding]]
    needs_config: bool = False

    def findings(self, subject: Subject) -> list[Finding]:
        """What was found; what could not be looked at is a problem too."""
        if self.needs_config and subject.config is None:
            return []
        found: list[Finding] = []
        try:
            found.extend(self.look(subject))
        except SurefootError as error:
            found.append(problem(error.message, error.next_step))
        except OSError as error:
            found.append(problem(f"It cannot be looked at: {error}."))
        return found


def ok(text: str) -> Finding:
    return Finding(Level.OK, text)


def warning(text: str, to_do: str = "") -> Finding:
    return Finding(Level.WARNING, text, to_do)


def problem(text: str, to_do: str = "") -> Finding:
    return Finding(Level.PROBLEM, text, to_do)
