"""Makes `docs/bench.md` and the tables in the READMEs from `bench/results` alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench import results, words
from bench.contenders import CONTENDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.results import Row

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "bench.md"
READMES = {ROOT / "README.md": "en", ROOT / "README.zh-CN.md": "zh"}
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
NOTHING = "-"

Found = dict[tuple[str, str, str], "Row"]


def render(folder: Path = results.FOLDER) -> dict[Path, str]:
    """Every file that is made, and its text."""
    found = {part: _by_key(results.read(part, folder)) for part in results.PARTS}
    made = {DOCUMENT: document(found, results.read_machine(folder))}
    for path, language in READMES.items():
        text = path.read_text(encoding="utf-8")
        made[path] = within(text, summary(found, words.README[language]))
    return made


def within(text: str, section: str) -> str:
    """The text, with the section between its marks."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{BEGIN} ... {END} is missing.")
    return pattern.sub(lambda _: f"{BEGIN}\n{section}{END}", text)


def _by_key(rows: Sequence[Row]) -> Found:
    return {(row.contender, row.scenario, row.metric): row for row in rows}


# -- the whole document


def document(found: Mapping[str, Found], machine: Mapping[str, str]) -> str:
    measured = words.MEASURED.format_map(machine) if machine else "Not measured yet.\n"
    sections = [words.HEAD + measured, _contenders()]
    for part in results.PARTS:
        if found[part]:
            sections.append(words.PARTS[part])
            sections += [_table(found[part], table) for table in words.TABLES[part]]
            sections += [
                f"![{caption}](../bench/results/{file})\n" for file, caption in PLOTS[part]
            ]
    sections.append(words.BEHIND)
    return "\n".join(sections)


PLOTS: dict[str, tuple[tuple[str, str], ...]] = {
    "cutover": (("cutover.svg", "Longest gap without a good answer, by contender and release"),),
    "staging": (("staging.svg", "Seconds to make a release ready"),),
    "faults": (("faults.svg", "Share of faults after which the app was whole by itself"),),
    "database": (("database.svg", "Downtime that being able to go back adds, by size"),),
    "footprint": (("footprint.svg", "Memory of idle supervisors"),),
}


def _contenders() -> str:
    lines = ["| contender | what it is | what it cannot do |", "| --- | --- | --- |"]
    lines += [f"| {kind.name} | {kind.what} | {'; '.join(kind.cannot)} |" for kind in CONTENDERS]
    lines += [f"| {name} | {what} | {no} |" for name, (what, no) in words.OTHERS.items()]
    return "\n".join(lines) + "\n"


def _table(found: Found, table: words.Table) -> str:
    """A row for each contender, a column for each scenario or metric."""
    columns = [
        column for column in table.columns if any((n, *column[:2]) in found for n in _names(found))
    ]
    lines = [
        f"**{table.title}**\n",
        f"| contender | {' | '.join(title for _, _, title in columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for name in _names(found):
        cells = [_cell(found.get((name, *column[:2]))) for column in columns]
        if set(cells) != {NOTHING}:
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _names(found: Found) -> list[str]:
    """Contenders in their order; the load generator is none."""
    order = [*(kind.name for kind in CONTENDERS), *words.OTHERS]
    names = {name for name, _, _ in found} - {"generator"}
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _cell(row: Row | None) -> str:
    """Median and worst, with one figure where they are alike."""
    if row is None:
        return NOTHING
    middle, worst = number(row.median, row.unit), number(row.worst, row.unit)
    return middle if middle == worst else f"{middle} ({worst})"


def number(value: float, unit: str) -> str:
    match unit:
        case "bytes":
            return _scaled(value, (("MB", 1e6), ("kB", 1e3), ("B", 1)))
        case "s":
            return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.2f} s"
        case "MB":
            return f"{value:,.1f} MB"
        case "share":
            return f"{value:.0%}"
        case "ratio":
            return f"{value:.2f}"
        case _:
            return f"{value:,.0f}"


def _scaled(value: float, units: Iterable[tuple[str, float]]) -> str:
    for name, size in units:
        if value >= size:
            return f"{value / size:,.1f} {name}"
    return "0"


# -- the table of the READMEs


def summary(found: Mapping[str, Found], said: words.Readme) -> str:
    cutover, faults = found["cutover"], found["faults"]
    if not cutover:
        return f"\n{said.not_measured}\n\n"
    lines = ["", said.intro, "", said.head, "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for kind in CONTENDERS:
        cells = [
            _cell(cutover.get((kind.name, "code", "failed_requests"))),
            _cell(cutover.get((kind.name, "migration", "failed_requests"))),
            _cell(cutover.get((kind.name, "code", "longest_gap"))),
            _cell(cutover.get((kind.name, "code", "window_ratio"))),
            _share(faults, kind.name),
        ]
        if set(cells) != {NOTHING}:
            lines.append(f"| {said.names.get(kind.name, kind.name)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", said.more, ""]) + "\n"


def _share(faults: Found, name: str) -> str:
    """Of all faults."""
    rows = [
        row for (who, _, metric), row in faults.items()
        if who == name and metric == "whole_within_60_s"
    ]  # fmt: skip
    if not rows:
        return NOTHING
    return f"{sum(row.median * row.n for row in rows) / sum(row.n for row in rows):.0%}"
