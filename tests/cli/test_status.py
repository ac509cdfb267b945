"""How things stand: true in every state, and never an error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from surefoot import durable
from surefoot.releases.ledger import Ledger
from surefoot.update import requests
from surefoot.update.history import History
from surefoot.update.lock import Lock, Update
from surefoot.update.requests import Request
from surefoot.update.states import State

if TYPE_CHECKING:
    from tests.cli.conftest import Commands

    from surefoot.releases.store import Release


def test_a_new_home_has_nothing_yet(run: Commands) -> None:
    found = run("status", "--json").json

    assert found["home"] == str(run.home.root)
    assert (found["app"], found["running"], found["configuration"]) == ("notes", False, None)
    nothing = ("release", "update", "request", "last", "backup", "lock")
    assert [found[key] for key in nothing] == [None] * len(nothing)
    assert found["releases"] == 0


def test_the_release_in_use_with_the_time_of_its_commit(run: Commands, installed: Release) -> None:
    found = run("status", "--json").json["release"]

    assert (found["id"], found["ref"], found["commit"]) == (
        installed.id,
        "v1.0",
        installed.commit,
    )
    assert datetime.fromisoformat(found["since"]) <= datetime.now(UTC)
    assert f"v1.0 ({installed.id})" in run("status").out


@pytest.mark.usefixtures("supervisor")
def test_a_running_supervisor_and_a_waiting_request_are_seen(run: Commands) -> None:
    requests.put(run.home, Request(kind="rollback", ref="v1"))

    found = run("status", "--json").json

    assert found["running"] is True
    assert (found["request"]["kind"], found["request"]["ref"]) == ("rollback", "v1")


def test_an_update_in_flight_is_told_without_its_secret(run: Commands) -> None:
    update = Update(
        id="u1", state=State.PROBATION, from_="a", to="b", token="hush", attempts={"staged": 2}
    )
    Lock(run.home).save(update)

    answer = run("status", "--json")

    assert answer.json["update"]["state"] == "probation"
    assert (answer.json["update"]["from"], answer.json["update"]["to"]) == ("a", "b")
    assert answer.json["update"]["attempts"] == {"staged": 2}
    assert "hush" not in answer.out
    assert "probation since" in run("status").out


def test_after_a_broken_update_it_says_what_to_do(run: Commands) -> None:
    Lock(run.home).save(Update(id="u1", state=State.BROKEN, reason="The disk is full."))

    shown = run("status").out

    assert "The disk is full." in shown
    assert "mend the cause, then `surefoot rollback --wait`" in shown


def test_a_lock_that_cannot_be_read_is_told_not_raised(run: Commands) -> None:
    durable.write(run.home.lock, b'{"schema":')

    answer = run("status", "--json")

    assert answer.code == 0
    assert "cannot be read" in answer.json["lock"]


def test_a_wrong_configuration_is_told_not_raised(run: Commands) -> None:
    (run.home.root / "surefoot.toml").write_text("[app")

    answer = run("status", "--json")

    assert answer.code == 0
    assert "is not TOML" in answer.json["configuration"]
    assert "is not TOML" in run("status").out


def test_the_last_update_is_told_with_its_durations(run: Commands) -> None:
    history = History(run.home)
    history.append("u1", "committed", "Committed.", to="b", durations={"stage": 1.5})
    history.append("u2", "up_to_date", "Nothing new.")

    found = run("status", "--json").json["last"]

    assert (found["update"], found["outcome"], found["to"]) == ("u1", "committed", "b")
    assert found["durations"] == {"stage": 1.5}
    assert "stage 1.5 s" in run("status").out


def test_denied_releases_are_told_with_the_reason(run: Commands) -> None:
    now = datetime.now(UTC)
    Ledger.load(run.home.ledger, now=now).deny("0123456789ab", "It was not healthy.", now)

    assert "0123456789ab: It was not healthy." in run("status").out
