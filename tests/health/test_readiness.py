from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from surefoot.errors import ConfigurationError
from surefoot.health.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def readiness(tmp_path: Path) -> Iterator[tuple[Readiness, socket.socket]]:
    path = tmp_path / "notify"
    listening = Readiness(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as app:
        app.connect(str(path))
        yield listening, app
    listening.close()


def test_ready_is_healthy_and_stays_so(readiness: tuple[Readiness, socket.socket]) -> None:
    listening, app = readiness
    assert not listening.probe().healthy
    app.send(b"READY=1")
    assert listening.probe().healthy
    app.send(b"STOPPING=1")
    assert listening.probe().healthy


def test_a_status_is_told_and_is_not_readiness(
    readiness: tuple[Readiness, socket.socket],
) -> None:
    listening, app = readiness
    app.send("STATUS=Loading the modèle".encode())
    app.send(b"READY=0\nWATCHDOG=1\n\xff\xfe")
    outcome = listening.probe()
    assert not outcome.healthy
    assert outcome.detail == "READY=1 has not come (it says: Loading the modèle)"


def test_one_datagram_may_say_several_things(readiness: tuple[Readiness, socket.socket]) -> None:
    listening, app = readiness
    app.send(b"MAINPID=12\nSTATUS=Serving\nREADY=1\n")
    assert listening.probe().detail == "READY=1 came (it says: Serving)"


def test_a_socket_left_over_from_before_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    Readiness(path)._socket.close()
    listening = Readiness(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as app:
        app.sendto(b"READY=1", str(path))
    assert listening.probe().healthy
    listening.close()


def test_a_path_too_long_for_a_socket_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="shorter path"):
        Readiness(tmp_path / ("x" * 120))
