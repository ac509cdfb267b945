"""Takes the passwords of database URLs out of what a program has printed: it is kept, and shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN = "***"
_URL = re.compile(r"\w://[^:/@]*:(.+)@[^@]*$")
_SHORTEST_WORD = 5
"""A shorter one is only taken out of URLs: elsewhere it may be a part of any word."""


def hidden(text: str, environment: Mapping[str, str]) -> str:
    """The text without the passwords of the URLs in the environment that it was printed in."""
    for value in environment.values():
        if found := _URL.search(value):
            password = found[1]
            text = text.replace(f":{password}@", f":{HIDDEN}@")
            for written in {password, unquote(password)}:
                if len(written) >= _SHORTEST_WORD:
                    text = text.replace(written, HIDDEN)
    return text
