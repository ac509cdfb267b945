"""What an update would bring, asked of a real remote."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from surefoot.errors import ExitCode
from surefoot.releases.ledger import Ledger

if TYPE_CHECKING:
    from tests.cli.conftest import Commands
    from tests.releases.remote import Remote

    from surefoot.releases.store import Release


def test_the_newest_release_with_the_commits_that_it_brings(
    run: Commands, remote: Remote, installed: Release
) -> None:
    remote.commit({"a": "1"}, "Add a")
    newest = remote.commit({"b": "2"}, "Add b")

    found = run("check", "--json").json

    assert found["available"] is True
    assert found["current"]["release"] == installed.id
    assert (found["newest"]["commit"], found["newest"]["ref"]) == (newest, "main")
    assert [change["subject"] for change in found["changes"]] == ["Add b", "Add a"]
    shown = run("check").out
    assert "Add a" in shown
    assert "Bring it in with `surefoot update --wait`." in shown


def test_the_release_in_use_is_up_to_date_and_that_is_no_error(
    run: Commands, installed: Release
) -> None:
    answer = run("check", "--json")

    assert answer.code == 0
    assert answer.json["available"] is False
    assert answer.json["changes"] == []
    assert f"Up to date: main ({installed.id}) is in use." in run("check").out


def test_before_the_first_installation_all_is_new(run: Commands) -> None:
    found = run("check", "--json").json

    assert (found["available"], found["current"]) == (True, None)
    assert [change["subject"] for change in found["changes"]] == ["First"]


def test_another_release_can_be_asked_for(run: Commands, remote: Remote) -> None:
    first = remote.git("rev-parse", "HEAD")
    remote.commit({"a": "1"})

    found = run("check", "--json", "--to", "v1.0").json["newest"]

    assert (found["commit"], found["version"]) == (first, "1.0")


def test_a_release_that_was_rolled_back_is_said_to_be(run: Commands, remote: Remote) -> None:
    now = datetime.now(UTC)
    release = remote.git("rev-parse", "HEAD")[:12]
    Ledger.load(run.home.ledger, now=now).deny(release, "It crashed.", now)

    assert run("check", "--json").json["denied"] == "It crashed."
    assert "surefoot update --to main" in run("check").out


def test_a_ref_that_is_not_there_is_answered_with_those_like_it(run: Commands) -> None:
    answer = run("check", "--to", "v1.00")

    assert answer.code == ExitCode.FAILED
    assert "There is no tag, branch or commit 'v1.00'" in answer.err
    assert "v1.0" in answer.err


def test_a_source_that_does_not_answer_is_a_failure_in_one_line(
    run: Commands, remote: Remote
) -> None:
    shutil.rmtree(remote.folder)

    answer = run("check", "--json")

    assert answer.code == ExitCode.FAILED
    assert answer.out == ""
    assert "cannot be used" in answer.err
    assert "Traceback" not in answer.err
