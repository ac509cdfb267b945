"""Whether the app is whole: one release in all its parts, every acknowledged row, nothing left."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.crash.databases import rows_of
from tests.crash.sample import COLUMNS, FIRST, RELEASES

from surefoot.databases import backups
from surefoot.update.history import FINAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.crash.place import Place

_EXPECTED = re.compile(r"supervisor\.sh|app\.py|^sleep \d\d?$")
"""What runs when all is quiet; a timer that came too late ends by itself."""
PATIENCE_S = 10.0


@dataclass
class Verdict:
    """What was found after an instant; `problems` is empty where the app is whole."""

    struck: bool
    serves: str | None = None
    outcome: str = ""
    """The event with which the update ended; empty where it was never taken up."""
    lost: int = 0
    """Acknowledged rows that are not there, or are not what they were."""
    problems: list[str] = field(default_factory=list)
    log: str = field(default="", repr=False)
    """What was printed, where there are problems."""


def judge(
    place: Place,
    aim: str,
    update: str,
    rows: Mapping[int, str],
    *,
    struck: bool,
    old: str = FIRST.tag,
    replaces: bool = False,
) -> Verdict:
    """Looks at everything; the app runs and nothing is in flight. `replaces`: somebody has asked
    for a backup, so a row may instead be in what was replaced and kept."""
    verdict = Verdict(struck=struck)
    verdict.serves = place.version()
    verdict.outcome = next((e for e in reversed(place.events(update)) if e in FINAL), "")
    said = verdict.problems
    release = RELEASES.get(verdict.serves or "")
    if release is None or verdict.serves not in {old, aim}:
        said.append(f"{verdict.serves} serves")
        return verdict
    said += _code(place, release.tag)
    said += _database(place, release.schema)
    verdict.lost = _lost(place, rows, replaces=replaces)
    if verdict.lost:
        said.append(f"{verdict.lost} of {len(rows)} rows are lost")
    if verdict.outcome == "committed" and verdict.serves != aim:
        said.append("it was committed, but the old release serves")
    if verdict.outcome in {"abandoned", "rolled_back", "refused"} and verdict.serves != old:
        said.append(f"it was {verdict.outcome}, but the new release serves")
    if place.home.request.exists():
        said.append("a request waits, and nobody takes it up")
    elif not verdict.outcome:
        said.append("nobody was told how it ended")
    if strangers := _left_over(place):
        said.append(f"left over: {strangers}")
    log = place.log.read_text(errors="replace")
    if "Traceback" in log:
        said.append(f"a traceback: {_last_line(log)}")
    return verdict


def _left_over(place: Place) -> list[str]:
    """What runs and should not. The supervisor's own helpers come and go."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        found = [line for line in place.processes().values() if not _EXPECTED.search(line)]
        if not found or time.monotonic() > end_s:
            return found
        time.sleep(0.05)


def _code(place: Place, tag: str) -> list[str]:
    said = []
    name = place.home.current.resolve().name
    if name != place.source.commits[tag][:12]:
        said.append(f"{tag} serves, but `current` is {name}")
    code = place.home.current / "app"
    for file, text in RELEASES[tag].files().items():
        if (code / file).read_text() != text:
            said.append(f"{file} of {tag} is not what it was")
    if not (place.home.current / "venv" / "bin" / "python").exists():
        said.append("the environment is gone")
    return said


def _database(place: Place, schema: int) -> list[str]:
    found = place.database.look()
    said = ["the database is damaged"] if found.is_damaged else []
    if found.schema != schema or found.columns != COLUMNS[schema]:
        said.append(f"the schema is {found.schema} with {found.columns}, not {schema}")
    elif found.unfinished:
        said.append("the migration is half done")
    return said


def _lost(place: Place, rows: Mapping[int, str], *, replaces: bool) -> int:
    kept = place.database.rows()
    lost = {number: text for number, text in rows.items() if kept.get(number) != text}
    if lost and replaces:
        found = [k for k in backups.all(place.home.backups) if k.facts]
        replaced = [rows_of(k.file) for k in found if k.facts and k.facts.kind == "replaced"]
        lost = {n: t for n, t in lost.items() if not any(r.get(n) == t for r in replaced)}
    return len(lost)


def _last_line(log: str) -> str:
    lines = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*$", log, re.MULTILINE)
    return lines[-1] if lines else "of an unknown kind"
