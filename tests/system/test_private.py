"""A release is judged where no visitor meets it; it gets the public address when it is proven."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.system.conftest import PATIENCE_S, processes_of, stopped_at_last, wait_until
from tests.system.notes import Notes
from tests.system.test_overlap import Visitors
from tests.tiny import free_port

from surefoot.demo.client import Client
from surefoot.errors import ExitCode
from surefoot.health.http import HttpProbe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.demo.sample import History


@pytest.fixture
def notes(history: History, tmp_path: Path) -> Iterator[Notes]:
    """v1.2 serves. What is wrong with a release is found out behind the gate, and not before."""
    server = Notes(tmp_path, history, first="v1.2", rehearsed=False)
    server.set("SUREFOOT_HEALTH_TIMEOUT", "10")
    server.set("SUREFOOT_GATE_HOLD", "60")
    with stopped_at_last(server):
        server.start()
        server.wait_for("1.2", PATIENCE_S)
        yield server


def test_no_visitor_meets_a_bad_release_nor_notices_more_than_a_slow_answer(notes: Notes) -> None:
    with Visitors(notes.url) as visitors:
        wait_until(lambda: visitors.answers["1.2"] > 20, "visitors come")
        assert notes.update("bad-health").outcome is ExitCode.ROLLED_BACK
        assert "started" in notes.events()
        assert notes.update("v1.3").outcome is ExitCode.OK
        wait_until(lambda: visitors.answers["1.3"] > 20, "v1.3 serves")
    assert set(visitors.answers) == {"1.2", "1.3"}, visitors.answers


@pytest.mark.slow
@pytest.mark.parametrize("event", ["started", "healthy"])
def test_killed_before_it_has_the_public_address_it_still_gets_it(notes: Notes, event: str) -> None:
    with Client(notes.url, timeout_s=30) as writer:
        offset = notes.history_size()
        update = notes.begin("update", "--to", "v1.3", "--wait")
        wait_until(lambda: event in notes.events(offset), f"the update is at {event}")
        for pid in processes_of(notes):
            with contextlib.suppress(OSError):
                if b"\0engine\0" in _command(pid):
                    os.kill(pid, signal.SIGKILL)
        update.kill()
        update.communicate()
        wait_until(lambda: not notes.lock.exists(), "the update has ended")
        wait_until(lambda: notes.version() == "1.3", "nothing was wrong with the release")
        writer.stop()
        assert writer.lost() == []
        assert writer.summary().failures == 0


@pytest.mark.slow
@pytest.mark.parametrize("overlap", ["false", "true"])
def test_every_kind_of_address_outlives_the_release(
    history: History, tmp_path: Path, overlap: str
) -> None:
    server = Notes(tmp_path, history, first="v1.2", rehearsed=False)
    place = "/api/version"
    addresses = {
        server.url.removeprefix("http://"): HttpProbe(f"{server.url}{place}", timeout_s=30),
        f"unix:{tmp_path}/web.sock": HttpProbe(
            f"http://localhost{place}", path=f"{tmp_path}/web.sock", timeout_s=30
        ),
    }
    if socket.has_ipv6:
        address = f"[::1]:{free_port()}"
        addresses[address] = HttpProbe(f"http://{address}{place}", timeout_s=30)
    server.set("SUREFOOT_APP_LISTEN", ",".join(addresses))
    server.set("SUREFOOT_APP_OVERLAP", overlap)
    server.set("SUREFOOT_HEALTH_TIMEOUT", "10")
    server.set("SUREFOOT_GATE_HOLD", "60")
    answers: Counter[tuple[str, str]] = Counter()
    is_over = threading.Event()

    def visit(address: str) -> None:
        while not is_over.wait(0.01):
            answers[address, addresses[address].probe().detail] += 1

    threads = [threading.Thread(target=visit, args=(address,)) for address in addresses]
    with stopped_at_last(server):
        server.start()
        server.wait_for("1.2", PATIENCE_S)
        for thread in threads:
            thread.start()
        try:
            assert server.update("v1.3").outcome is ExitCode.OK
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        assert server.version() == "1.3"
    assert set(answers) == {(address, "answered 200") for address in addresses}


def _command(pid: int) -> bytes:
    with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
        return file.read()
