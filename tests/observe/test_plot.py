"""The image of the last updates: what is in it, and what is said where there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from surefoot.errors import ExitCode
from surefoot.home import Home
from surefoot.observe import plot
from surefoot.update import events
from surefoot.update.causes import Cause
from surefoot.update.history import History

if TYPE_CHECKING:
    from pathlib import Path

CUTOVER = {
    "stage": 31.5, "stop": 0.21, "snapshot": 0.04, "migrate": 0.52, "switch": 0.01, "start": 0.63,
    "judge": 1.5, "open": 0.02, "window": 1.44, "longest_wait": 1.44,
}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ended(cls: type[events.Ended], update: str, /, **facts: Any) -> events.Ended:
    return cls(at=DAY, update=update, **{"ref": "v1", "durations": CUTOVER} | facts)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    (home.root / "surefoot.toml").write_text("")
    history = History(home)
    for event in (
        events.Checked(at=DAY, update="u0", text="There is nothing new."),
        events.Requested(at=DAY, update="u1", to="a", ref="v1.0"),
        ended(events.Committed, "u1", to="a", ref="v1.0"),
        ended(events.RolledBack, "u2", to="b", ref="v1.1", cause=Cause.MIGRATION,
              durations=CUTOVER | {"put_back": 0.4, "resume_old": 0.7, "window": 3.2}),
        ended(events.Abandoned, "u3", to="c", ref="v1.2", durations={"stage": 12.25}),
        ended(events.Abandoned, "u4", cause=Cause.SOURCE, durations={}),
        ended(events.Committed, "u5", to="d", ref="v1.3"),
    ):  # fmt: skip
        line = events.record(event)
        history.append(line.update, line.event, line.text, **line.facts)
    return home


def told(home: Home, *options: str, start: str = "") -> subprocess.CompletedProcess[str]:
    command = ["-c", f"{start}\nfrom surefoot.__main__ import main; main()"]
    return subprocess.run(
        [sys.executable, *command, "history", "--home", str(home.root), *options],
        env=os.environ | {"SUREFOOT_DEBUG": "0"},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


def texts(svg: bytes) -> set[str]:
    root = ElementTree.fromstring(svg)  # noqa: S314 - ours
    return {"".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("}text")}


def bars(svg: bytes) -> list[str]:
    return re.findall(r'id="downtime-([^"]+)"', svg.decode())


def test_each_update_that_has_ended_has_its_bars_and_the_axes_their_units(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "updates.svg"
    done = told(home, "--plot", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{file} shows 4 updates.\n"
    svg = file.read_bytes()
    assert bars(svg) == ["u1", "u2", "u3", "u5"]
    found = texts(svg)
    assert {"duration (s)", "downtime (s)", "update: release, and when it ended (UTC)"} <= found
    assert {"committed", "rolled back", "abandoned", "put back", "migrate", "stage"} <= found
    assert {"broken", "overlap"} & found == set()
    assert any("v1.1" in text for text in found)


def test_filters_and_limit_choose_the_updates(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "updates.svg"
    for options, wanted in (
        (["--limit", "2"], ["u3", "u5"]),
        (["--release", "v1.0", "--json"], ["u1"]),
    ):
        assert told(home, *options, "--plot", str(file)).returncode == 0
        assert bars(file.read_bytes()) == wanted


def test_a_png_is_one_and_takes_the_place_of_what_was_there(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "updates.PNG"
    file.write_text("old")
    assert told(home, "--plot", str(file)).returncode == 0
    assert file.read_bytes().startswith(PNG)


def test_the_outcome_is_told_by_the_colour() -> None:
    updates = [ended(events.Committed, "u1"), ended(events.RolledBack, "u2")]
    svg = plot.drawn(updates, "svg").decode()
    for update in updates:
        drawn = re.search(rf'id="downtime-{update.update}".*?fill: (#\w+)', svg, re.DOTALL)
        assert drawn is not None
        assert drawn[1] == plot.OUTCOMES[update.name]


def test_a_downtime_that_is_not_known_is_not_shown_as_none() -> None:
    older = {"stage": 3.0, "stop": 0.2, "start": 0.4}
    assert "?" in texts(plot.drawn([ended(events.Committed, "u1", durations=older)], "svg"))
    for known in (CUTOVER, {"stage": 3.0, "overlap": 1.0, "take_over": 0.1}):
        assert "?" not in texts(plot.drawn([ended(events.Committed, "u1", durations=known)], "svg"))


def test_names_and_numbers_of_any_kind_are_drawn() -> None:
    rubbish = {"stage": -1.0, "stop": 1e300, "teleport": 3.0, "window": float("inf")}
    updates = [
        ended(events.Committed, "u1", ref="$v^1$"),
        ended(events.Committed, "u2", ref="发布-हिन्दी"),
        ended(events.Broken, "u<3>&", ref=None, to="f" * 90, durations=rubbish),
        *(ended(events.Committed, f"more{number}") for number in range(60)),
    ]
    found = texts(plot.drawn(updates, "svg"))
    assert any("$v^1$" in text for text in found)
    assert plot.drawn(updates[:3], "png").startswith(PNG)


def test_where_nothing_can_be_drawn_it_is_said_and_the_file_stays(
    home: Home, tmp_path: Path
) -> None:
    file = tmp_path / "updates.svg"
    file.write_text("old")
    for options, code, why in (
        (["--outcome", "broken", "--plot", str(file)], ExitCode.FAILED, "nothing to draw"),
        (["--plot", str(tmp_path / "updates.pdf")], ExitCode.USAGE, "neither in .svg nor in .png"),
        (["--plot", str(tmp_path / "gone/a.svg")], ExitCode.USAGE, "cannot be written: No such"),
        (["u1", "--plot", str(file)], ExitCode.USAGE, "leave the ID out"),
    ):
        done = told(home, *options)
        assert (done.returncode, done.stdout) == (code, "")
        assert why in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert file.read_text() == "old"


def test_without_the_extra_it_says_what_to_install(home: Home, tmp_path: Path) -> None:
    """Only the plot needs it; it is not even imported for anything else."""
    blocked = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'matplotlib':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Gone())"
    )
    file = tmp_path / "updates.svg"
    done = told(home, "--plot", str(file), start=blocked)
    assert done.returncode == ExitCode.CONFIGURATION
    assert "pip install 'surefoot[plots]'" in done.stderr
    assert not file.exists()
    assert told(home, start=blocked).returncode == 0
