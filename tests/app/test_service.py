from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from surefoot.app import (
    EXIT_CODE_UPDATE,
    NotSupervised,
    UpdateAbandoned,
    UpdateError,
    UpdateRefused,
    UpdateResult,
    UpdateService,
    trigger_update,
    trigger_update_sync,
    update_service,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.app.conftest import Home

STAGED = {"outcome": "staged", "update": "1", "from": "aaa", "to": "bbb", "reason": ""}


def ask_asynchronously() -> UpdateResult:
    return asyncio.run(trigger_update())


ASKS: tuple[Callable[[], UpdateResult], ...] = (ask_asynchronously, trigger_update_sync)


def run_app(home: Home, program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs an app to its end, as the main process that the supervisor has started."""
    return subprocess.run(
        ["sh", "-c", 'SUREFOOT_PID=$$ exec "$@"', "sh", sys.executable, "-c", program],
        env=home.environment(**variables),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_exit_code_is_public() -> None:
    assert EXIT_CODE_UPDATE == 10
    assert type(EXIT_CODE_UPDATE) is int


def test_an_app_that_does_not_run_under_surefoot_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUREFOOT_PYTHON")
    with pytest.raises(NotSupervised):
        asyncio.run(trigger_update())
    monkeypatch.delenv("SUREFOOT_HOME")
    with pytest.raises(NotSupervised, match="surefoot run"):
        trigger_update_sync()
    assert not home.asked.exists()


@pytest.mark.parametrize(
    ("answer", "code", "raised"),
    [
        ({"outcome": "refused", "reason": "It is denied."}, 4, UpdateRefused),
        ({"outcome": "abandoned", "reason": "The remote is away."}, 6, UpdateAbandoned),
        ({"outcome": "rolled_back", "reason": "Too late."}, 7, UpdateError),
        ({"reason": "No supervisor."}, 5, NotSupervised),
        ({"outcome": "staged", "reason": "but failed"}, 1, UpdateError),
    ],
)
def test_a_no_is_raised_with_its_reason_and_the_app_goes_on(
    home: Home, answer: dict[str, str], code: int, raised: type[UpdateError]
) -> None:
    home.engine(answer, code)
    for ask in ASKS:
        with pytest.raises(UpdateError) as caught:
            ask()
        assert type(caught.value) is raised
        assert str(caught.value) == answer["reason"]


def test_an_engine_that_cannot_answer_is_told_with_what_it_said(home: Home) -> None:
    home.engine("not json", 1, error="Traceback: no module named surefoot")
    with pytest.raises(UpdateError, match="no module named surefoot"):
        asyncio.run(trigger_update())
    home.engine("", 3)
    with pytest.raises(UpdateError, match="exit code 3"):
        trigger_update_sync()


def test_an_engine_that_is_not_there_is_told(home: Home) -> None:
    for ask in ASKS:
        with pytest.raises(NotSupervised, match="cannot be started"):
            ask()
    assert not home.asked.exists()


def test_nothing_to_do_is_an_answer_and_not_the_end(home: Home) -> None:
    home.engine({"outcome": "up_to_date", "from": "aaa", "to": "aaa", "reason": "In use already."})
    result = asyncio.run(trigger_update())
    assert (result.outcome, result.to_release) == ("up_to_date", "aaa")
    assert trigger_update_sync() == result
    assert home.asked.read_text() == "-I -m surefoot update --json --until staged\n" * 2


def test_the_wanted_release_is_passed_on_and_never_taken_for_an_option(home: Home) -> None:
    home.engine({"outcome": "up_to_date"})
    asyncio.run(trigger_update("v2"))
    trigger_update_sync("--force")
    asyncio.run(update_service.request_rollback())
    update_service.sync.request_rollback("-x")
    assert [
        line.partition("--until staged")[2] for line in home.asked.read_text().splitlines()
    ] == [
        " --to=v2",
        " --to=--force",
        "",
        " -- -x",
    ]


def test_a_second_call_in_flight_is_refused_at_once(home: Home) -> None:
    home.engine({"outcome": "up_to_date"}, wait_for="go")
    service = UpdateService()

    async def twice() -> None:
        first = asyncio.create_task(service.trigger_update())
        await asyncio.sleep(0)
        with pytest.raises(UpdateRefused, match="already"):
            await service.trigger_update()
        with pytest.raises(UpdateRefused, match="already"):
            await asyncio.to_thread(service.sync.request_rollback)
        (home.root / "go").touch()
        assert (await first).outcome == "up_to_date"
        assert (await service.trigger_update()).outcome == "up_to_date"

    asyncio.run(twice())
    assert len(home.asked.read_text().splitlines()) == 2


def test_the_app_goes_on_serving_while_it_waits(home: Home) -> None:
    home.engine({"outcome": "up_to_date"}, wait_for="go")

    async def serve() -> int:
        update = asyncio.create_task(UpdateService().trigger_update())
        rounds = 0
        while not update.done():
            await asyncio.sleep(0.001)
            rounds += 1
            if rounds == 50:
                (home.root / "go").touch()
        return rounds

    assert asyncio.run(serve()) >= 50


def test_a_caller_who_goes_away_does_not_cancel_the_update(home: Home) -> None:
    home.engine({"outcome": "up_to_date"}, wait_for="go")
    service = UpdateService()

    async def go_away() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(service.trigger_update(), 0.1)
        with pytest.raises(UpdateRefused):
            await service.trigger_update()
        (home.root / "go").touch()
        while True:
            try:
                assert (await service.trigger_update()).outcome == "up_to_date"
            except UpdateRefused:
                await asyncio.sleep(0.02)
            else:
                return

    asyncio.run(go_away())


BOT = """
import asyncio, atexit
from surefoot.app import trigger_update
atexit.register(print, "tidied")
async def poll():
    try:
        await asyncio.sleep(3600)
    finally:
        print("closed")
async def main():
    asyncio.ensure_future(poll())
    await asyncio.sleep(0)
    try:
        await trigger_update()
    except Exception:
        print("never")
asyncio.run(main())
"""


def test_a_bot_ends_with_10_and_tidies_up(home: Home) -> None:
    home.engine(STAGED)
    ended = run_app(home, BOT)
    assert ended.returncode == 10, ended.stderr
    assert ended.stdout.split() == ["closed", "tidied"]


def test_a_synchronous_app_ends_with_10(home: Home) -> None:
    home.engine(STAGED)
    ended = run_app(home, "from surefoot.app import trigger_update_sync as t; t(); print('no')")
    assert (ended.returncode, ended.stdout) == (10, "")


def test_an_app_with_a_handler_of_its_own_ends_by_it_and_with_10(home: Home) -> None:
    home.engine(STAGED)
    program = """
import signal, sys, time
from surefoot.app import trigger_update_sync
def end(*_):
    print("handled")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
trigger_update_sync()
time.sleep(3600)
"""
    ended = run_app(home, program)
    assert (ended.returncode, ended.stdout) == (10, "handled\n"), ended.stderr


def test_a_loop_with_a_signal_handler_ends_by_it_and_with_10(home: Home) -> None:
    home.engine(STAGED)
    program = """
import asyncio, signal
from surefoot.app import trigger_update
async def main():
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    print((await trigger_update()).outcome)
    await over.wait()
    print("ended")
asyncio.run(main())
"""
    ended = run_app(home, program)
    assert (ended.returncode, ended.stdout) == (10, "staged\nended\n"), ended.stderr


def test_an_app_that_hangs_on_its_way_out_still_ends_with_10(home: Home) -> None:
    home.engine(STAGED)
    program = """
import signal, time
from surefoot.app import trigger_update_sync
signal.signal(signal.SIGTERM, lambda *_: print("ignored"))
trigger_update_sync()
while True:
    time.sleep(1)
"""
    ended = run_app(home, program, SUREFOOT_STOP_GRACE="1")
    assert (ended.returncode, ended.stdout) == (10, "ignored\n"), ended.stderr


def test_a_thread_that_never_ends_does_not_hold_the_update(home: Home) -> None:
    home.engine(STAGED)
    program = """
import threading, time
from surefoot.app import trigger_update_sync
threading.Thread(target=time.sleep, args=(3600,)).start()
trigger_update_sync()
"""
    assert run_app(home, program, SUREFOOT_STOP_GRACE="1").returncode == 10


@pytest.mark.parametrize("interrupt", ["default_int_handler", "SIG_IGN"])
def test_a_thread_ends_the_app_with_10(home: Home, interrupt: str) -> None:
    home.engine(STAGED)
    program = f"""
import signal, threading, time
from surefoot.app import trigger_update_sync
signal.signal(signal.SIGINT, signal.{interrupt})
threading.Thread(target=trigger_update_sync).start()
time.sleep(3600)
"""
    assert run_app(home, program).returncode == 10


def test_a_worker_ends_its_main_process_and_not_itself(home: Home) -> None:
    home.engine(STAGED)
    program = """
import os, signal, subprocess, sys
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append("told"))
worker = "from surefoot.app import trigger_update_sync as t; print(t().outcome)"
code = subprocess.run([sys.executable, "-c", worker]).returncode
print(code, *ended)
"""
    ended = run_app(home, program)
    assert (ended.returncode, ended.stdout) == (0, "staged\n0 told\n"), ended.stderr


def test_a_failed_update_leaves_the_app_running(home: Home) -> None:
    home.engine({"outcome": "abandoned", "reason": "No network."}, 6)
    program = """
import asyncio
from surefoot.app import UpdateError, trigger_update
async def main():
    try:
        await trigger_update()
    except UpdateError as error:
        print(type(error).__name__, error)
asyncio.run(main())
"""
    ended = run_app(home, program)
    assert (ended.returncode, ended.stdout) == (0, "UpdateAbandoned No network.\n")


def test_a_periodic_check_wakes_the_supervisor(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTO_UPDATE_ENABLED", "true")
    monkeypatch.setenv("UPDATE_CHECK_INTERVAL", "0.02")
    (home.root / "run").mkdir()
    pipe = home.root / "run" / "control"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)

    async def check() -> bytes:
        checking = asyncio.create_task(update_service.check_periodically())
        heard = b""
        while heard.count(b"\n") < 3:
            await asyncio.sleep(0.01)
            try:
                heard += os.read(descriptor, 1000)
            except BlockingIOError:
                continue
        checking.cancel()
        return heard

    try:
        heard = asyncio.run(check())
    finally:
        os.close(descriptor)
    assert set(heard.splitlines()) == {b"check"}


def test_a_periodic_check_is_left_to_the_supervisor_and_to_who_wants_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(update_service.check_periodically())  # off: returns
    monkeypatch.setenv("AUTO_UPDATE_ENABLED", "true")
    monkeypatch.setenv("SUREFOOT_CHECK_INTERVAL", "3600")
    asyncio.run(update_service.check_periodically())  # the supervisor does it: returns
    monkeypatch.setenv("SUREFOOT_CHECK_INTERVAL", "0")
    monkeypatch.setenv("UPDATE_CHECK_INTERVAL", "0.01")
    with pytest.raises(NotSupervised):
        asyncio.run(update_service.check_periodically())
    monkeypatch.delenv("SUREFOOT_HOME")
    with pytest.raises(NotSupervised):
        asyncio.run(update_service.check_periodically())
    assert not home.asked.exists()
