"""SIGKILL of everything in the middle of an update, then a new start: old or new, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.system.conftest import PATIENCE_S, kill_everything, wait_until

from surefoot.demo.client import Client

if TYPE_CHECKING:
    from tests.system.notes import Notes

# The event after which everything is killed, by what goes on then.
MOMENTS = {
    "fetch": "staging",
    "installation": "fetched",
    "after the lock is written": "requested",
    "rehearsal": "rehearsing",
    "cutover": "stopped",
    "migration": "migrating",
    "switch": "migrated",
    "probation": "started",
}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(event, id=name, marks=[] if name == "migration" else pytest.mark.slow)
        for name, event in MOMENTS.items()
    ],
)
def test_killed_in_the_middle_and_started_again_the_app_is_whole(server: Notes, event: str) -> None:
    server.start()
    server.wait_for("1.0", PATIENCE_S)
    with Client(server.url, timeout_s=5) as client:
        wait_until(lambda: len(client.acknowledged) > 3, "some notes are there")
        offset = server.history_size()
        update = server.begin("update", "--to", "v1.2", "--wait")
        wait_until(lambda: event in server.events(offset), f"the update is at {event}")
        kill_everything(server)
        update.kill()
        update.communicate()
        server.start()
        wait_until(lambda: server.version() in {"1.0", "1.2"}, "a release serves")
        wait_until(lambda: not server.lock.exists(), "the update has ended")
        written = len(client.acknowledged)
        wait_until(lambda: len(client.acknowledged) > written, "new notes are accepted")
        client.stop()
        assert client.lost() == []
    assert server.version() == "1.2"  # nothing was wrong with the release


def test_killed_in_a_rollback_it_is_rolled_back_all_the_same(unrehearsed_server: Notes) -> None:
    server = unrehearsed_server
    server.start()
    server.wait_for("1.0", PATIENCE_S)
    server.update("v1.2")
    with Client(server.url, timeout_s=5) as client:
        offset = server.history_size()
        update = server.begin("update", "--to", "bad-migration", "--wait")
        wait_until(lambda: "rolling_back" in server.events(offset), "it is rolled back")
        kill_everything(server)
        update.kill()
        update.communicate()
        server.start()
        wait_until(lambda: not server.lock.exists(), "the update has ended")
        wait_until(lambda: server.version() == "1.2", "v1.2 serves")
        client.stop()
        assert client.lost() == []
