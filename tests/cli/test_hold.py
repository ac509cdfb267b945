"""A hold keeps the schedule from starting updates, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from surefoot import config
from surefoot.control import Processes
from surefoot.update.engine import Engine
from surefoot.update.history import History
from surefoot.update.requests import Request, put

if TYPE_CHECKING:
    from tests.cli.conftest import Commands
    from tests.releases.remote import Remote


def test_it_is_shown_told_in_the_history_and_released(run: Commands) -> None:
    assert run("hold", "--reason", "The auditors are here").code == 0

    assert run("status", "--json").json["hold"]["reason"] == "The auditors are here"
    assert "The auditors are here" in run("status").out
    assert "Released" in run("hold", "--release").out
    assert run("status", "--json").json["hold"] is None
    assert "Nothing was held" in run("hold", "--release").out
    events = list(History(run.home).read())
    assert [event.event for event in events] == ["hold_placed", "hold_released"]
    assert all(event.facts["by"] for event in events)


def test_one_that_cannot_be_read_holds_as_well(run: Commands) -> None:
    run.home.hold.parent.mkdir()
    run.home.hold.write_bytes(b'{"at"')

    assert "cannot be read" in run("status", "--json").json["hold"]["reason"]


@pytest.mark.usefixtures("installed")
def test_the_schedule_is_held_and_a_person_is_not(run: Commands, remote: Remote) -> None:
    remote.folder.rename(remote.folder.with_name("gone"))  # whoever asks it fails, and says so
    engine = Engine(run.home, config.load(run.home.root), Processes())

    def looked(*, auto: bool) -> bool:
        before = History(run.home).size()
        engine.update(auto=auto)
        return "abandoned" in [event.event for event in History(run.home).read(before)]

    assert looked(auto=True)
    run("hold")
    assert not looked(auto=True)
    run.home.run.mkdir()
    put(run.home, Request())
    assert looked(auto=True)
    run("hold", "--release")
    assert looked(auto=True)
