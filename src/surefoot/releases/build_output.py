"""Finding the line that matters in what a build prints."""

from __future__ import annotations

import re

_FAILURES = (
    r"^\s*(?:error|Error|ERROR)\b[: ]+(.+)$",
    r"^\s*(\w*(?:Error|Exception)\b.*)$",
    r"^\s*(.*(?:not found|No such file|Permission denied|No space left).*)$",
)


def decisive_lines(output: str) -> str:
    """The line that says what failed, with uv's `cause:` after it, as one sentence."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in _FAILURES:
        for line in lines:
            if found := re.match(pattern, line):
                causes = [one for one in lines if one.startswith("cause: ")]
                texts = [found[1], *(one.removeprefix("cause: ") for one in causes[-1:])]
                return _sentence(": ".join(text.rstrip(".:") for text in texts))
    return _sentence(lines[-1]) if lines else "it printed nothing."


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
