"""Handing the public address over to a real server, and to what is none."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from tests.app.conftest import home
from tests.app.test_serve import WAIT_S, held, running
from tests.damage.conftest import place, prepared

from surefoot.app import beside
from surefoot.errors import ExitCode, SupervisorError
from surefoot.health.http import HttpProbe
from surefoot.home import Home
from surefoot.update import private_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.conftest import Home as AppHome
    from tests.damage.conftest import Place

__all__ = ["held", "home", "place", "prepared"]
ASKING = b"GET /pid HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_a_server_takes_the_public_address_once(home: AppHome, held: socket.socket) -> None:
    found = Home(home.root)
    found.run.mkdir()
    where = private_place.place(found)
    assert not private_place.is_taken(found)
    with running(home, "sample:app", SUREFOOT_PRIVATE=str(where)) as process:
        asked = HttpProbe("http://localhost/pid", path=str(where))
        deadline = time.monotonic() + WAIT_S
        while not asked.probe().healthy:
            assert time.monotonic() < deadline, (home.root / "log").read_text()
            time.sleep(0.02)
        assert private_place.is_taken(found)
        with socket.create_connection(held.getsockname(), 60) as visitor:
            visitor.sendall(ASKING)
            for _ in range(2):  # whoever did not hear that it went well asks again
                private_place.hand_over(found, [held])
            assert visitor.makefile("rb").read().endswith(str(process.pid).encode())
        assert opened(process.pid).count(f"socket:[{os.fstat(held.fileno()).st_ino}]") == 1
    assert not private_place.is_taken(found)


def opened(pid: int) -> list[str]:
    """What its descriptors are."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))  # noqa: PTH115
    return found


@contextlib.contextmanager
def deaf(where: Path) -> Iterator[None]:
    """Something that is asked to take sockets, and takes none."""
    where.parent.mkdir(exist_ok=True)
    with beside.listen(f"{where}{beside.TAKE}") as listening:
        listening.setblocking(True)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listening.accept()[0].close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_what_does_not_take_it_is_an_error(tmp_path: Path, held: socket.socket) -> None:
    found = Home(tmp_path)
    with deaf(private_place.place(found)), pytest.raises(SupervisorError, match="did not take"):
        private_place.hand_over(found, [held])


def test_a_committed_release_that_does_not_take_it_is_started_again_in_public(
    place: Place,
) -> None:
    with deaf(private_place.place(place.home)):
        place.ask("v3")
        assert place.engine("update") is ExitCode.OK
    assert "not_taken" in place.tiny.events()
    assert place.played.said[-2:] == ["stop", "run"]
