"""What the supervisor has put into the environment of the app."""

from __future__ import annotations

import os

from surefoot.app.errors import NotSupervised

DEFAULT_GRACE_S = 10.0


def home() -> str | None:
    """The home as an absolute path; None where the app does not run under Surefoot."""
    return os.environ.get("SUREFOOT_HOME") or None


def supervised_home() -> str:
    """The home. Raises NotSupervised without one."""
    found = home()
    if found is None:
        raise NotSupervised(
            "The app does not run under Surefoot (SUREFOOT_HOME is not set). "
            "Start it with `surefoot run`."
        )
    return found


def main_pid() -> int:
    """The process that the supervisor has started: this one, or the parent of the workers."""
    value = os.environ.get("SUREFOOT_PID", "")
    return int(value) if value.isdecimal() else os.getpid()


def own_page() -> str | None:
    """The file of the app's own maintenance page."""
    return os.environ.get("SUREFOOT_PAGE") or None


def api_prefixes() -> tuple[str, ...]:
    """The paths that get JSON, as surefoot.toml says; `/api` where nobody says."""
    said = os.environ.get("SUREFOOT_API")
    return ("/api",) if said is None else tuple(said.split())


def stop_grace_s() -> float:
    """How long the app may take to end before it is killed."""
    return seconds(os.environ.get("SUREFOOT_STOP_GRACE"), DEFAULT_GRACE_S)


def seconds(value: str | None, otherwise: float) -> float:
    try:
        return float(value or "")
    except ValueError:
        return otherwise


def tell_supervisor(home: str, line: bytes) -> None:
    """Writes one line, which is atomic at this size, into the supervisor's pipe.

    Raises NotSupervised where nobody reads it.
    """
    try:
        descriptor = os.open(f"{home}/run/control", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise NotSupervised(f"The supervisor does not listen: {error}.") from None


def private_place() -> str:
    """Where this process serves beside the release in use; empty if it has its public address from
    the start."""
    return os.environ.get("SUREFOOT_PRIVATE", "")
