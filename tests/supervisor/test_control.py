"""The Python ends of both pipes."""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from surefoot import control
from surefoot.control import Exited, Processes, Requested
from surefoot.errors import NotRunningError, SupervisorError
from surefoot.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class Supervisor:
    """Its ends of both pipes, and the engine's."""

    reads: int
    writes: int
    processes: Processes

    def says(self, text: str) -> None:
        os.write(self.writes, text.encode())

    def hears(self) -> str:
        return os.read(self.reads, 4096).decode()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    control_end, control_fd = os.pipe()
    events_fd, events_end = os.pipe()
    yield Supervisor(control_end, events_end, Processes(control_fd, events_fd))
    for descriptor in (control_end, control_fd, events_fd, events_end):
        os.close(descriptor)


def answering(supervisor: Supervisor, question: str, answer: str) -> threading.Thread:
    """Answers once it is asked."""

    def answer_it() -> None:
        if supervisor.hears() == question:
            supervisor.says(answer)

    thread = threading.Thread(target=answer_it)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("ask", "question", "answer"),
    [
        (Processes.stop, "stop\n", "stopped\n"),
        (Processes.attempt, "try\n", "started\n"),
        (Processes.run, "run\n", "started\n"),
    ],
)
def test_a_goal_is_said_and_its_answer_waited_for(
    supervisor: Supervisor, ask: Callable[[Processes], None], question: str, answer: str
) -> None:
    thread = answering(supervisor, question, answer)
    ask(supervisor.processes)
    thread.join()


def test_what_happens_while_an_answer_is_waited_for_is_kept_in_order(
    supervisor: Supervisor,
) -> None:
    supervisor.says("exit web 3\n")
    thread = answering(supervisor, "stop\n", "exit mail-2 143\nrequest\nstopped\n")
    supervisor.processes.stop()
    thread.join()
    assert supervisor.processes.wait(0) == [Exited("web", 3), Exited("mail-2", 143), Requested()]
    assert supervisor.processes.wait(0) == []


def test_an_answer_to_an_earlier_question_does_not_count(supervisor: Supervisor) -> None:
    supervisor.says("stopped\n")
    with pytest.raises(SupervisorError, match="has not answered `stop`"):
        supervisor.processes.stop(0.05)
    assert supervisor.hears() == "stop\n"


def test_a_line_may_come_in_pieces(supervisor: Supervisor) -> None:
    supervisor.says("exit we")
    assert supervisor.processes.wait(0) == []
    supervisor.says("b 1\nexit web 2")
    assert supervisor.processes.wait(60) == [Exited("web", 1)]
    supervisor.says("\n")
    assert supervisor.processes.wait(60) == [Exited("web", 2)]


def test_lines_that_mean_nothing_are_passed_over(supervisor: Supervisor) -> None:
    supervisor.says("exit web\nexit web x\n\nhello\nrequest\n")
    assert supervisor.processes.wait(60) == [Requested()]


def test_hold_has_no_answer(supervisor: Supervisor) -> None:
    supervisor.processes.hold()
    assert supervisor.hears() == "hold\n"


def test_without_a_supervisor_the_engine_is_told(supervisor: Supervisor) -> None:
    read, write = os.pipe()
    os.close(write)
    alone = Processes(supervisor.processes.control_fd, read)
    with pytest.raises(SupervisorError, match="its pipe is closed"):
        alone.wait(60)
    os.close(read)
    with pytest.raises(SupervisorError, match="Bad file descriptor"):
        Processes(supervisor.processes.control_fd, read).wait(60)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.run.mkdir()
    return made


def test_without_a_supervisor_a_client_learns_how_to_start_one(home: Home) -> None:
    assert not control.is_running(home)
    with pytest.raises(NotRunningError) as raised:
        control.send(home, "update")
    assert raised.value.next_step == "Start it with `surefoot run`."


def test_a_pipe_that_somebody_still_holds_is_no_supervisor(home: Home) -> None:
    os.mkfifo(home.control)
    control.lock_of(home).touch()
    pipe = os.open(home.control, os.O_RDWR)
    assert not control.is_running(home)
    lock = os.open(control.lock_of(home), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert control.is_running(home)
    control.send(home, "update")
    assert os.read(pipe, 100) == b"update\n"
    os.close(lock)
    assert not control.is_running(home)
    os.close(pipe)


def test_a_supervisor_that_does_not_read_blocks_nobody(home: Home) -> None:
    os.mkfifo(home.control)
    pipe = os.open(home.control, os.O_RDWR | os.O_NONBLOCK)
    lock = os.open(control.lock_of(home), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(pipe, b"x" * 1_000_000)  # as much as it holds
    with pytest.raises(NotRunningError, match="does not read"):
        control.send(home, "update")
    os.close(lock)
    os.close(pipe)


@pytest.mark.parametrize("line", ["two\nlines", "x" * 512])
def test_only_one_short_line_is_a_message(supervisor: Supervisor, home: Home, line: str) -> None:
    os.mkfifo(home.control)
    with (
        os.fdopen(os.open(home.control, os.O_RDWR), "r+b", buffering=0),
        control.lock_of(home).open("w") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="not one short line"):
            control.send(home, line)
    assert supervisor.processes.wait(0) == []
