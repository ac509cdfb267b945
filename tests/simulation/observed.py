"""What an engine really does, in the words of the simulation: its system calls, as strace saw them,
as far as they make a file durable, give it its name, or take that away."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.world import FOLDERS, NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PLACES = (
    (r"data/backups/auto_update/in_flight/[^/]+", "in_flight"),
    (r"data/backups/auto_update/in_flight", "in_flight"),
    (r"data/backups/auto_update/\.in_flight\.gone", "in_flight (gone)"),
    (r"data/backups/auto_update$", "backups"),
    (r"data/(\.*)rows\.db", r"data/\1app.db"),
    (r"releases/{new}", "releases/2"),
    (r"environments/[0-9a-f]{16,}", "environments/e"),
)
"""Where the real files lie, and what the simulation calls these places."""
_WORK = re.compile(r"in_flight/main\.work/rows\.db")
_CALL = re.compile(r"([a-z0-9]+)\((.*)\) += (-?\d+)")
_ARGUMENT = re.compile(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>)|"([^"]*)"')
_CONTENT = {"releases/2/app": "releases/2/", "environments/e": "environments/e/"}
"""Slots that stand for all that lies below."""
_FOLDERS = {*FOLDERS, "backups"}
_ABOVE = {
    "in_flight": "backups",
    "in_flight/main.work": "in_flight",
    "releases/2": "releases",
    "environments/e": "environments",
}
_NAMED = {name for name in NAMES if not name.startswith("server")}


def calls(trace: str, home: Path, new: str) -> Iterator[str]:
    """The calls of one program that succeeded, by the names that `Primitives` gives them."""
    for line in trace.splitlines():
        found = _CALL.match(line)
        if found is None or int(found[3]) < 0:
            continue
        paths = [_simulated(p, home, new) for p in _paths(found[2])]
        yield from _named(found[1], paths, found[2])


def simulated(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The same of a history that was replayed."""
    for kind, text in lines:
        above = text.removeprefix("fsync the folder above ")
        if kind == "call" and above in _ABOVE:
            yield f"fsync folder {_ABOVE[above]}"
        elif kind == "call" and text.startswith(("fsync", "rename", "unlink", "link", "symlink")):
            yield text


def without_repetition(found: Iterable[str]) -> list[str]:
    """Flushing a tree, or the same once more, is one call."""
    return [call for call, _ in groupby(found)]


def missing(wanted: list[str], found: list[str]) -> str:
    """What is not among the calls that were found, in the order in which it is wanted; empty where
    all is."""
    left = iter(found)
    done: list[str] = []
    for call in wanted:
        if call not in left:  # goes on behind what was found last
            return f"`{call}`, which comes after {done[-3:]}"
        done.append(call)
    return ""


def _named(call: str, paths: list[str], text: str) -> Iterator[str]:
    if call in {"fsync", "fdatasync"} and paths:
        if paths[0] in _FOLDERS:
            yield f"fsync folder {paths[0]}"
        elif (slot := _slot(paths[0], below=True)) is not None:
            yield f"fsync {slot}"
    elif call.startswith("rename") and len(paths) > 1:
        if (slot := _slot(paths[-1])) is not None:
            yield f"rename to {slot}"
        elif paths[-1].endswith((".gone", "(gone)")) and paths[0] in FOLDERS:
            yield f"rename {paths[0]} away"
    elif call.startswith("unlink") and paths and "AT_REMOVEDIR" not in text:
        if (slot := _slot(paths[-1])) is not None:
            yield f"unlink {slot}"
    elif call.startswith("link") and (slot := _slot(paths[-1])) is not None:
        yield f"link to {slot}"
    elif call.startswith("symlink") and (slot := _slot(paths[-1])) is not None:
        yield f"symlink {slot}"


def _slot(path: str, *, below: bool = False) -> str | None:
    """With `below` also what stands for a whole tree."""
    if path in _NAMED:
        return path
    trees = _CONTENT.items() if below else ()
    return next((slot for slot, folder in trees if path.startswith(folder)), None)


def _paths(arguments: str) -> list[str]:
    """Absolute; a name belongs to the folder before it."""
    found: list[str] = []
    folder = ""
    for opened, name in _ARGUMENT.findall(arguments):
        if name:
            found.append(str(Path(folder or "/", name)))
            folder = ""
        else:
            if folder:
                found.append(folder)
            folder = opened
    return [*found, folder] if folder else found


def _simulated(path: str, home: Path, new: str) -> str:
    if path == str(home):
        return "home"
    try:
        place = str(Path(path).relative_to(home))
    except ValueError:
        return path
    for real, simulated in _PLACES:
        place = re.sub("^" + real.replace("{new}", new), simulated, place)
    place = _WORK.sub("in_flight/main.work/app.db", place)
    place = place.removeprefix("data/") if place != "data" else place
    return place.replace("releases/ledger", "ledger").replace("releases/.ledger", ".ledger")
