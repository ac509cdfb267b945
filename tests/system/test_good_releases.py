from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.system.conftest import PATIENCE_S, serving, wait_until

from surefoot.demo.client import Client, Kind
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.notes import Notes

    from surefoot.demo.sample import History


def test_updates_go_live_and_nothing_is_lost(server: Notes) -> None:
    server.start()
    server.wait_for("1.0", PATIENCE_S)
    with Client(server.url) as client:
        for tag in ("v1.1", "v1.2", "v1.3"):
            assert server.update(tag).outcome is ExitCode.OK
            assert server.version() == tag.removeprefix("v")
        events = json.loads(server.command("history", "--json").stdout)
        client.stop()
        assert client.lost() == []
        failed = client.summary().failed
        assert set(failed) <= {Kind.MAINTENANCE}, failed
    built = [event["text"] for event in events if event["event"] == "built"]
    assert "nothing was installed" in built[-1]
    [of_the_migration] = {e["update"] for e in events if e["event"] == "migration_rehearsed"}
    by_name = {e["event"]: e for e in events if e["update"] == of_the_migration}
    names = list(by_name)
    assert names.index("migration_rehearsed") < names.index("rehearsed") < names.index("staged")
    # Unrehearsed, it would be judged for ten seconds after a migration.
    assert by_name["committed"]["facts"]["durations"]["judge"] < 10
    assert server.update("v1.3").outcome is ExitCode.OK
    assert "in use already" in server.update("v1.3").reason


def test_by_hand_code_goes_back_where_the_schema_is_the_same(notes: Notes) -> None:
    assert notes.update("v1.3").outcome is ExitCode.OK
    back = notes.command("rollback", "--wait")
    assert back.returncode == ExitCode.OK, back
    assert notes.version() == "1.2"


@pytest.fixture(scope="module")
def oldest(history: History, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notes]:
    """Release v1.0, serving; for tests that end with v1.0 serving."""
    with serving(history, tmp_path_factory.mktemp("oldest"), "v1.0") as server:
        yield server


@pytest.fixture
def before(oldest: Notes) -> Iterator[Client]:
    """Has written some notes to v1.0, and none since it was updated to v1.2."""
    with Client(oldest.url) as client:
        wait_until(lambda: len(client.acknowledged) > 5, "some notes are there")
    assert oldest.update("v1.2").outcome is ExitCode.OK
    yield client
    assert oldest.version() == "1.0"


def test_code_and_schema_go_back_by_the_apps_own_downgrade_and_the_data_stays(
    oldest: Notes, before: Client
) -> None:
    with Client(oldest.url) as client:
        wait_until(lambda: len(client.acknowledged) > 5, "notes are written after the migration")
        back = oldest.command("rollback", "--wait")
        assert back.returncode == ExitCode.OK, back
        assert oldest.version() == "1.0"
        client.stop()
        assert client.lost() == []
    assert before.lost() == []
    assert "migration_rehearsed" in oldest.events()


def test_a_backup_comes_back_together_with_its_release(oldest: Notes, before: Client) -> None:
    backups = json.loads(oldest.command("backups", "--json").stdout)
    name = backups[0]["name"]
    refused = oldest.command("restore", name, "--wait")
    assert refused.returncode == ExitCode.REFUSED
    assert "--with-release" in refused.stdout
    assert oldest.version() == "1.2"
    restored = oldest.command("restore", name, "--with-release", "--wait")
    assert restored.returncode == ExitCode.OK, restored
    assert oldest.version() == "1.0"
    assert before.lost() == []
    now = json.loads(oldest.command("backups", "--json").stdout)
    assert len(now) > len(backups)
    (replaced,) = [b for b in now if b["kind"] == "replaced" and b not in backups]
    assert replaced["release"] == oldest._history.commits["v1.2"][:12]


def test_the_app_can_ask_for_the_update_itself(oldest: Notes) -> None:
    oldest.follow("v1.1")
    with Client(oldest.url) as client:
        assert oldest.post("/api/admin/update", {"X-Admin-Token": "secret"}) == 202
        wait_until(lambda: oldest.version() == "1.1", "v1.1 serves")
        wait_until(lambda: not oldest.lock.exists(), "the update has ended")
        client.stop()
        assert client.lost() == []
    assert oldest.command("rollback", "--wait").returncode == ExitCode.OK
    assert oldest.version() == "1.0"


def test_two_requests_at_once_are_one_update_and_one_clear_refusal(notes: Notes) -> None:
    both = [notes.begin("update", "--to", tag, "--wait") for tag in ("v1.3", "bad-health")]
    ended = [(process.wait(PATIENCE_S), *process.communicate()) for process in both]
    codes = sorted(code for code, *_ in ended)
    assert ExitCode.REFUSED in codes, ended
    assert codes[0] in {ExitCode.OK, ExitCode.REFUSED}
    refused = next(out + err for code, out, err in ended if code == ExitCode.REFUSED)
    assert "update is in flight" in refused or "request is waiting" in refused
    wait_until(lambda: not notes.lock.exists(), "the update has ended")
    if notes.version() != "1.2":
        assert notes.command("rollback", "--wait").returncode == ExitCode.OK


def test_an_app_that_does_not_stop_is_killed_and_the_update_goes_on(notes: Notes) -> None:
    assert notes.update("bad-stop").outcome is ExitCode.OK
    assert notes.command("rollback", "--wait").returncode == ExitCode.OK
    assert notes.version() == "1.2"
