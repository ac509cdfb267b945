from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from surefoot.app import busy
from surefoot.home import Home as Places
from surefoot.update import permission

if TYPE_CHECKING:
    from tests.app.conftest import Home

HOLD = """
import os, sys
from surefoot.app import busy
with busy("a job of " + sys.argv[1]):
    if sys.argv[1] == "parent" and os.fork():
        os._exit(0)
    print("busy", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def run(home: Home) -> None:
    (home.root / "run").mkdir()


def worker(home: Home, name: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, name],
        env=home.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    return process


def said(home: Home) -> str | None:
    """What the engine, which is another process, would hear."""
    program = (
        "import sys; from pathlib import Path; from surefoot.home import Home; "
        "from surefoot.update.permission import busy; print(busy(Home(Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", program, str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return None if done.stdout == "None\n" else done.stdout.strip()


def test_the_engine_hears_it_until_it_is_over(home: Home) -> None:
    assert said(home) is None
    with busy("two\nlines"):
        with busy():
            assert said(home) == "two lines"
        assert said(home) == "two lines"
    assert said(home) is None


def test_it_is_over_when_the_last_worker_is_done_and_when_it_is_killed(home: Home) -> None:
    first, second = worker(home, "first"), worker(home, "second")
    places = Places(home.root)
    assert permission.busy(places) == "a job of second"
    first.communicate("")
    assert permission.busy(places) is not None
    second.kill()
    second.communicate()
    assert permission.busy(places) is None


def test_a_child_of_a_busy_process_is_not_busy(home: Home) -> None:
    child = worker(home, "parent")
    child.wait()
    assert permission.busy(Places(home.root)) is None
    child.communicate("")


def test_it_can_be_said_by_tasks_and_threads_at_once(home: Home) -> None:
    async def job() -> None:
        with busy("a task"):
            await asyncio.sleep(0.01)

    async def jobs() -> None:
        await asyncio.gather(*(job() for _ in range(50)))

    def thread(_: int) -> None:
        with busy("a thread"):
            pass

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(thread, range(200)))
    with busy("the last"):
        asyncio.run(jobs())
        assert said(home) == "the last"
    assert said(home) is None


def test_an_update_that_was_put_off_is_looked_for_at_the_end(home: Home) -> None:
    os.mkfifo(home.root / "run" / "control")
    pipe = os.open(home.root / "run" / "control", os.O_RDWR | os.O_NONBLOCK)
    try:
        with busy():
            pass
        with pytest.raises(BlockingIOError):
            os.read(pipe, 100)
        (home.root / "run" / "postponed").touch()
        with busy(), busy():
            pass
        assert os.read(pipe, 100) == b"check\n"
    finally:
        os.close(pipe)


def test_what_is_to_be_done_is_done_although_nobody_can_hear_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.root / "run").rmdir()
    with busy("nobody hears it"):
        pass
    monkeypatch.delenv("SUREFOOT_HOME")
    with busy("nobody is there"):
        pass
