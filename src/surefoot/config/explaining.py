"""Says where in the file something is wrong, what is wrong, and what would be right."""

from __future__ import annotations

import difflib
import re
from typing import Any

from surefoot.config.model import OVERRIDABLE, Config, Database
from surefoot.errors import ConfigurationError


def _line_of(text: str, dotted: list[str]) -> int | None:
    """The line on which the key stands; None where it is not written at all.

    `*` stands for any name.
    """

    def meant(found: list[str]) -> bool:
        return len(found) == len(dotted) and all(
            want in {"*", have} for want, have in zip(dotted, found, strict=True)
        )

    table: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        found = []
        if header := re.match(r"\[\[?([^\]]+)\]", stripped):
            found = table = [part.strip().strip("\"'") for part in header[1].split(".")]
        elif key := re.match(r"([\w.\"'-]+)\s*=", stripped):
            found = [*table, *re.sub("[\"']", "", key[1]).split(".")]
        if meant(found):
            return number
    return None


def at(text: str, name: str, dotted: list[str]) -> str:
    """The file and the line of the key, or of the nearest table above it that is written."""
    for length in range(len(dotted), 0, -1):
        places = [dotted[:length]]
        if dotted[0] == "database":  # [database] stands for [database.main]
            places.insert(0, ["database", *dotted[2:length]])
        for place in places:
            if line := _line_of(text, place):
                return f"{name}, line {line}"
    return name


_WORDS = {
    "str": 'text in quotes, such as "this"',
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "array": 'a list, such as ["this"]',
    "object": "a table",
    "null": "nothing",
}


def in_words(message: str) -> str:
    """`Expected `bool`, got `str`` as a deployer would say it."""
    found = re.fullmatch(r"Expected `(.+?)`, got `(.+?)`", message)
    if not found:
        return message
    wanted, got = (
        " or ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
        for kinds in found.groups()
    )
    return f"expected {wanted}, not {got.partition(',')[0]}"


def explained(problem: str, text: str, name: str) -> ConfigurationError:
    """msgspec's complaint in words that say the line, what is wrong and what would be right."""
    message, _, place = problem.partition(" - at ")
    place = place.strip("`").removeprefix("$").replace("[...]", ".*")
    dotted = [part for part in re.sub(r"\[\d+\]", "", place).split(".") if part]
    key = re.search(r"(?:unknown|required) field `(.+?)`", message)
    if not key:
        where = at(text, name, dotted)
        return ConfigurationError(f"{where}: `{_dots(dotted)}`: {in_words(message)}.")
    section = f"[{_dots(dotted)}]" if dotted else "the file"
    if "required" in message:
        where = at(text, name, dotted)
        return ConfigurationError(f"{where}: {section} needs `{key[1]}`.")
    kind: Any = Config
    if dotted:
        kind = Database if dotted[0] == "database" else OVERRIDABLE[dotted[0]]
    known = kind.__struct_encode_fields__
    near = difflib.get_close_matches(key[1], known, 1)
    right = f"Did you mean `{near[0]}`?" if near else f"Known here: {', '.join(known)}."
    where = at(text, name, [*dotted, key[1]])
    return ConfigurationError(f"{where}: `{key[1]}` is not a key of {section}.", next_step=right)


def _dots(dotted: list[str]) -> str:
    return ".".join(part for part in dotted if part != "*")
