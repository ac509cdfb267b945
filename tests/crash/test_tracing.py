"""The tracer: each instant is where it is said to be, and what is copied is what was there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.crash import states
from tests.crash.injection import MOST_OF_THE_SAME, Call, Dies, Instant, Plans, thinned
from tests.crash.place import why_not

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"nothing can be traced: {why_not()}")

PROGRAM = """\
import os, sys
os.chdir(sys.argv[1])
with open("new", "w") as file:
    file.write("first")
    file.flush()
    os.fsync(file.fileno())
os.rename("new", "file")
os.link("file", "same")
try:
    os.unlink("not there")
except FileNotFoundError:
    pass
try:
    os.mkdir("folder")
except OSError as error:
    print(error.strerror)
"""
CALLS = [
    ("create new #1", ""), ("write new #1", ""), ("fsync new #1", ""), ("rename file #1", ""),
    ("link same #1", ""), ("unlink not there #1", "ENOENT"), ("mkdir folder #1", ""),
]  # fmt: skip


class Traced:
    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.plans = Plans(folder, self.home)
        self.plans.forget()
        self.tool = self.plans.wrap("engine", sys.executable)

    def run(self, *before: str) -> subprocess.CompletedProcess[str]:
        command = [*before, str(self.tool), "-I", "-c", PROGRAM, str(self.home)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    @property
    def there(self) -> set[str]:
        return set(os.listdir(self.home))  # noqa: PTH208 - the names


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    return Traced(tmp_path.resolve())


def test_each_call_that_changes_something_is_noted_by_what_it_does(traced: Traced) -> None:
    traced.plans.record("engine")
    assert traced.run().returncode == 0
    calls = [call for call in traced.plans.recorded() if "pipe" not in call.name]
    assert [(call.name, call.error) for call in calls] == CALLS
    assert [c.name for c in calls if not c.changes] == ["fsync new #1", "unlink not there #1"]


@pytest.mark.parametrize(
    ("call", "left"),
    [
        ("create new #1", set()),
        ("write new #1", {"new"}),
        ("rename file #1", {"new"}),
        ("link same #1", {"file"}),
        ("mkdir folder #1", {"file", "same"}),
    ],
)
def test_it_is_killed_right_before_the_call(traced: Traced, call: str, left: set[str]) -> None:
    traced.plans.strike(Instant("engine.1", call, Dies.IT))
    assert traced.run().returncode == -9
    assert traced.there == left
    assert traced.plans.has_struck("engine.1")


def test_a_call_fails_with_the_error_that_was_meant_and_does_nothing(traced: Traced) -> None:
    traced.plans.strike(Instant("engine.1", "mkdir folder #1", Dies.NOTHING, "ENOSPC"))
    ended = traced.run()
    assert (ended.returncode, ended.stdout) == (0, "No space left on device\n")
    assert traced.there == {"file", "same"}
    assert not traced.plans.has_struck("engine.2")


def test_a_copy_is_the_home_as_it_was_then(traced: Traced, tmp_path: Path) -> None:
    namespace = ["unshare", *(["--user", "--map-root-user"] if os.geteuid() else [])]
    namespace += ["--pid", "--fork", "--kill-child", "--mount-proc"]
    traced.plans.copy([("engine.1", "write new #1"), ("engine.1", "mkdir folder #1")])
    assert traced.run(*namespace, "sh", "-c", '"$@" & wait', "sh").returncode == 0
    copied = traced.plans.copied("engine")
    assert [which for *_, which in copied] == [
        ("engine.1", "write new #1"),
        ("engine.1", "mkdir folder #1"),
    ]
    for number, left in ((0, {"new": ""}), (1, {"file": "first", "same": "first"})):
        home = tmp_path / str(number)
        states.restore(str(traced.plans.states), number, str(home))
        assert {f.name: f.read_text() for f in home.iterdir()} == left
    assert (home / "file").samefile(home / "same")


def test_outside_of_a_namespace_nothing_but_the_program_is_ended(traced: Traced) -> None:
    traced.plans.strike(Instant("engine.1", "mkdir folder #1", Dies.ALL))
    assert traced.run().returncode != 0
    assert traced.there == {"file", "same"}


def test_of_many_pages_an_even_choice_is_struck() -> None:
    pages = [Call("engine.1", n, "", f"pwrite64 copy #{n}") for n in range(9000)]
    chosen = thinned(pages)
    assert len(chosen) == MOST_OF_THE_SAME
    assert (chosen[0], chosen[-1]) == (pages[0], pages[-1])
