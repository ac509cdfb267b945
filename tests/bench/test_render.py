"""What the documents show is what was measured."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from bench.results import Figures, Row

from bench import plots, render, results

if TYPE_CHECKING:
    from pathlib import Path


def test_the_documents_are_made_from_the_results() -> None:
    for path, text in render.render().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python -m bench --render"


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """Results of one run, made up."""
    rows = [
        Row("surefoot", "code", "failed_requests", "requests", 0.0, 0.0, 10),
        Row("surefoot", "code", "longest_gap", "s", 0.812, 0.95, 10),
        Row("surefoot", "code", "window_ratio", "ratio", 1.08, 1.2, 10),
        Row("script", "code", "failed_requests", "requests", 131.0, 144.0, 10),
        Row("generator", "code", "cpu_share", "ratio", 0.1, 0.1, 10),
    ]
    results.write("cutover", rows, tmp_path)
    faults = [
        Row("surefoot", "health answers 500", "whole_within_60_s", "share", 1.0, 1.0, 1),
        Row("script", "health answers 500", "whole_within_60_s", "share", 0.0, 0.0, 1),
        Row("script", "killed at a random moment", "whole_within_60_s", "share", 0.5, 0.0, 3),
    ]
    results.write("faults", faults, tmp_path)
    results.write_machine(tmp_path)
    return tmp_path


def row_of(text: str, name: str) -> list[str]:
    [line] = re.findall(rf"^\| {re.escape(name)} \| .*$", text, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_readme_shows_median_and_worst(measured: Path) -> None:
    made = render.render(measured)
    for path in render.READMES:
        text = made[path]
        assert row_of(text, "**Surefoot**") == ["0", "-", "812 ms (950 ms)", "1.08 (1.20)", "100%"]
    english = made[render.ROOT / "README.md"]
    assert row_of(english, "`git pull`, `pip`, `alembic`, restart")[0] == "131 (144)"
    # Of one and three faults, one and a half.
    assert row_of(english, "`git pull`, `pip`, `alembic`, restart")[-1] == "38%"


def test_the_page_shows_every_row(measured: Path) -> None:
    page = render.render(measured)[render.DOCUMENT]
    assert "| surefoot | 0 | 812 ms (950 ms) | 1.08 (1.20) |" in page
    assert "| script | 131 (144) | - | - |" in page
    assert "generator" not in page


def test_plots_are_made_again_alike(measured: Path) -> None:
    plots.draw(measured)
    first = {path.name: path.read_bytes() for path in measured.glob("*.svg")}
    assert set(first) == {"cutover.svg", "faults.svg"}
    plots.draw(measured)
    assert first == {path.name: path.read_bytes() for path in measured.glob("*.svg")}


def test_a_row_is_the_median_and_the_worst_and_a_share_the_share_of_all() -> None:
    figures = Figures()
    for value in (1.0, 5.0, 2.0):
        figures.add("a", "b", "gap", "s", value)
    for value in (1.0, 1.0, 0.0, 1.0):
        figures.add("a", "b", "whole", "share", value)
    gap, whole = figures.rows()
    assert (gap.median, gap.worst, gap.n) == (2.0, 5.0, 3)
    assert (whole.median, whole.worst, whole.n) == (0.75, 0.0, 4)
