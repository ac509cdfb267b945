from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from surefoot.app import report_ready

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_ready_is_said_over_the_notify_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        assert report_ready()
        assert report_ready("Serving\nREADY=0")
        assert listening.recv(100) == b"READY=1"
        assert listening.recv(100) == b"READY=1\nSTATUS=Serving READY=0"


def test_where_nobody_listens_it_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not report_ready()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not report_ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "relative")
    assert not report_ready()


def test_an_abstract_socket_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("")  # the kernel chooses an abstract name
        name: bytes = listening.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:].decode())
        assert report_ready()
        assert listening.recv(100) == b"READY=1"
