"""The settings that a deployer changes most, from `.env` in the home or the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass

from surefoot.app import surroundings

DEFAULT_INTERVAL_S = 3600.0
TRUE_WORDS = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Schedule:
    """AUTO_UPDATE_ENABLED and UPDATE_CHECK_INTERVAL."""

    is_enabled: bool
    interval_s: float
    is_the_supervisors: bool
    """The supervisor looks by itself; the app need not."""


def schedule(home: str) -> Schedule:
    """What is set now; the environment counts before `.env`."""
    values = _dotenv(f"{home}/.env") | dict(os.environ)
    interval_s = surroundings.seconds(values.get("UPDATE_CHECK_INTERVAL"), DEFAULT_INTERVAL_S)
    return Schedule(
        is_enabled=values.get("AUTO_UPDATE_ENABLED", "").strip().lower() in TRUE_WORDS,
        interval_s=interval_s if interval_s > 0 else DEFAULT_INTERVAL_S,
        is_the_supervisors=surroundings.seconds(os.environ.get("SUREFOOT_CHECK_INTERVAL"), 0) > 0,
    )


def _dotenv(path: str) -> dict[str, str]:
    """`KEY=value` lines; quotes, comments and `export` as everybody writes them."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no pathlib in the app's start
            lines = file.read().splitlines()
    except OSError:
        return {}
    values = {}
    for line in lines:
        key, equals, value = line.strip().removeprefix("export ").partition("=")
        if not equals or key.startswith("#"):
            continue
        value = value.strip()
        if value[:1] in {"'", '"'}:
            value = value[1:].partition(value[0])[0]
        else:
            value = value.partition(" #")[0].strip()
        values[key.strip()] = value
    return values
