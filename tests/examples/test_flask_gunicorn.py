from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.app.load import Load
from tests.examples.deployed import Deployed

from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
WORKERS = 8


@pytest.fixture
def app(tmp_path: Path, wheel: Path) -> Iterator[Deployed]:
    found = Deployed("flask-gunicorn", tmp_path, wheel, ADMIN_TOKEN="right")
    found.release("v1.0")
    found.start()
    try:
        found.wait_for_version("1.0")
        found.wait_until_quiet()
        yield found
    finally:
        found.stop()


def test_an_update_loses_no_request_and_eight_workers_that_ask_make_one(app: Deployed) -> None:
    load = Load(app.port, "/")
    clients = [threading.Thread(target=load.ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        app.release("v1.1")
        updated = app.command("update", "--wait")
        assert updated.returncode == ExitCode.OK, updated
        load.wait_for(20)
    finally:
        load.over.set()
        for client in clients:
            client.join()
    assert (load.failures, set(load.answers) - {200, 503}) == ([], set())
    assert app.version() == "1.1"
    assert app.ask("/api/update", "", X_Admin_Token="wrong")[0] == 403

    app.release("v1.2")
    begun = app.events().count("requested")
    answers: list[tuple[int, Any]] = []

    def trigger() -> None:
        answers.append(app.ask("/api/update", "", X_Admin_Token="right"))

    threads = [threading.Thread(target=trigger) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    app.wait_for_version("1.2")
    app.wait_until_quiet()
    assert app.events().count("requested") == begun + 1
    statuses = sorted(status for status, _ in answers)
    assert statuses == [202] + [409] * (WORKERS - 1), answers
