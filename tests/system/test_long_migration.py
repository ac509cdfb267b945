"""A migration or a start that takes long: whoever comes meanwhile is told so, and nobody is
refused."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.tiny import Repository, Tiny

from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system
PLACES = ("/", "/api/notes")


class Visitors:
    """Each asks again as soon as it is answered, over a new connection."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.errors: list[str] = []
        self.last = ""
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(p,)) for p in PLACES * 2]

    def come(self) -> None:
        for thread in self._threads:
            thread.start()

    def go(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, place: str) -> None:
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            with contextlib.closing(connection):
                try:
                    connection.request("GET", place)
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.errors.append(repr(error))
                    continue
            kind = answer.headers.get("Content-Type", "").partition(";")[0]
            self.answers[place, answer.status, kind] += 1
            if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
                assert answer.headers["Retry-After"] == "5"
            else:
                self.last = json.loads(body)["version"]


@pytest.mark.parametrize("kind", ["takes long", "starts slowly"])
def test_every_visitor_gets_the_page_or_a_503_and_then_the_app(tmp_path: Path, kind: str) -> None:
    repository = Repository(tmp_path / "git")
    repository.release("v1")
    app = Tiny(tmp_path, repository)
    app.configure("[gate]\nhold = 0.5")
    visitors = Visitors(app.port)
    app.start()
    try:
        app.wait_for_version("v1")
        app.wait_until_quiet()
        repository.release("v2", kind, schema=2)
        assert app.command("update").returncode == ExitCode.OK
        app.wait_for(lambda: app.events().count("stopped") == 2, "the app has ended")
        visitors.come()
        app.wait_for(lambda: visitors.last == "v2", "v2 serves")
        app.wait_until_quiet()
        visitors.go()
    finally:
        visitors.go()
        app.stop()
    assert visitors.errors == []
    kinds = {place: {k[1:] for k in visitors.answers if k[0] == place} for place in PLACES}
    assert kinds["/"] == {(503, "text/html"), (200, "")}
    assert kinds["/api/notes"] == {(503, "application/json"), (200, "")}
