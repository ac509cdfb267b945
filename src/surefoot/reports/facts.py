"""Facts of an event, which may be older than we are, or damaged."""

from __future__ import annotations

from typing import Any


def text_or_none(value: Any) -> str | None:
    """The value, if it is a text."""
    return value if isinstance(value, str) else None


def texts(value: Any) -> dict[str, str]:
    """Texts by name."""
    found = value if isinstance(value, dict) else {}
    return {str(name): str(text) for name, text in found.items()}


def durations(value: Any) -> dict[str, float]:
    """Seconds by step."""
    found = value if isinstance(value, dict) else {}
    return {str(k): v for k, v in found.items() if isinstance(v, float) and abs(v) < 1e9}
