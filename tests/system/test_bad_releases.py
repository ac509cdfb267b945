"""Every bad release ends, by itself, with the old one serving and every acknowledged row there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.system.conftest import PATIENCE_S, wait_until

from surefoot.demo.client import Client
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from tests.system.notes import Notes


def assert_unharmed(notes: Notes, client: Client) -> None:
    wait_until(lambda: notes.version() == "1.2", "v1.2 serves")
    written = len(client.acknowledged)
    wait_until(lambda: len(client.acknowledged) > written, "new notes are accepted")
    client.stop()
    assert client.lost() == []


BAD = pytest.mark.parametrize(
    ("tag", "reason"),
    [
        ("bad-import", "ended with exit code 1"),
        ("bad-hang", "no good answer within"),
        ("bad-health", "answered 500, expected 200"),
        ("bad-migration", "This migration was not tried"),
    ],
)


@BAD
def test_a_bad_release_is_found_out_while_nobody_is_interrupted(
    notes: Notes, client: Client, tag: str, reason: str
) -> None:
    before = client.mark()
    update = notes.update(tag)
    assert update.outcome is ExitCode.ABANDONED
    assert reason in update.reason
    assert_unharmed(notes, client)
    assert client.summary(before).failures == 0
    assert not list(notes.home.glob("data/UPDATE_LOCK.json"))
    assert not list(notes.home.glob("data/backups/auto_update/rehearsal"))


@BAD
def test_a_release_that_fails_in_the_cutover_is_put_back(
    unrehearsed: Notes, tag: str, reason: str
) -> None:
    with Client(unrehearsed.url) as client:
        update = unrehearsed.update(tag)
        assert update.outcome is ExitCode.ROLLED_BACK
        assert reason in update.reason
        assert_unharmed(unrehearsed, client)
    assert not list(unrehearsed.home.glob("data/UPDATE_LOCK.json"))


def test_a_release_that_cannot_be_built_costs_not_one_request(notes: Notes, client: Client) -> None:
    before = client.mark()
    update = notes.update("bad-dependency")
    assert update.outcome is ExitCode.ABANDONED
    assert "notes-words==9.9" in update.reason
    assert_unharmed(notes, client)
    assert client.summary(before).failures == 0


def test_a_release_that_crashes_after_its_commit_goes_back(notes: Notes, client: Client) -> None:
    assert notes.update("bad-crash").outcome is ExitCode.OK
    wait_until(lambda: notes.version() == "bad-crash", "the bad release serves")
    wait_until(lambda: notes.version() == "1.2", "the old release serves again", 2 * PATIENCE_S)
    wait_until(lambda: not notes.lock.exists(), "the update has ended")
    assert_unharmed(notes, client)


@pytest.mark.parametrize("tag", ["bad-import", "bad-crash"])
def test_a_release_that_failed_is_not_tried_again_by_itself(unrehearsed: Notes, tag: str) -> None:
    if not unrehearsed.is_denied(tag):
        unrehearsed.update(tag)
        wait_until(lambda: unrehearsed.is_denied(tag), f"{tag} is denied", 2 * PATIENCE_S)
    wait_until(
        lambda: unrehearsed.version() == "1.2" and not unrehearsed.lock.exists(), "v1.2 serves"
    )
    unrehearsed.follow(tag)
    refused = unrehearsed.command("update", "--wait")
    assert refused.returncode == ExitCode.REFUSED
    assert "was rolled back and is not tried again by itself" in refused.stdout
    assert unrehearsed.version() == "1.2"
