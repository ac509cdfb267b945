"""Everything that Surefoot raises on purpose, in one small tree.

Each error is a sentence for a deployer at three in the morning: what failed, what was left
untouched, and what to do next.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the command line. They are part of the public interface."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    REFUSED = 4
    NOT_RUNNING = 5
    ABANDONED = 6
    ROLLED_BACK = 7
    BROKEN = 8
    TIMED_OUT = 9
    UPDATE_REQUESTED = 10


class SurefootError(Exception):
    """The root. `next_step` says what the reader can do about it."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, next_step: str = "", output: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.output = output
        """What the command that failed has printed, the end of it, as it came."""

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class ConfigurationError(SurefootError):
    """surefoot.toml, .env or the environment says something that cannot be meant."""

    exit_code = ExitCode.CONFIGURATION


class RefusedError(SurefootError):
    """The request was understood and turned down; nothing was changed."""

    exit_code = ExitCode.REFUSED


class NotRunningError(SurefootError):
    """There is no supervisor to talk to."""

    exit_code = ExitCode.NOT_RUNNING


class StageError(SurefootError):
    """A release could not be fetched, verified, built or rehearsed. The app was not touched."""

    exit_code = ExitCode.ABANDONED


class HeldError(StageError):
    """A release that is ready waits until a person has agreed. The app was not touched."""


class SourceError(StageError):
    """The source could not be reached, or does not have what was asked for."""


class BuildError(StageError):
    """The environment or the app's own build commands failed."""


class DatabaseError(SurefootError):
    """A database could not be copied, migrated or put back."""


class MigrationError(DatabaseError):
    """The app's migration failed; the snapshot has yet to be put back."""


class DamagedError(SurefootError):
    """A file that Surefoot wrote does not read as it should. It is kept aside, never guessed at."""


class SupervisorError(SurefootError):
    """The supervisor does not answer the engine, or cannot be reached."""


class UnhealthyError(SurefootError):
    """A release did not pass its probation."""
