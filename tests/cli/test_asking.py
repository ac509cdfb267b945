"""Asking for an update: what is refused, and what is shown until it has ended."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import engine

from surefoot import durable
from surefoot.cli import follow
from surefoot.databases import backups
from surefoot.errors import ExitCode
from surefoot.update import requests
from surefoot.update.history import History
from surefoot.update.lock import Lock, Update
from surefoot.update.requests import Request
from surefoot.update.states import State

if TYPE_CHECKING:
    from tests.cli.conftest import Commands, Supervisor

    from surefoot.home import Home

BEGUN = ("requested", "Update: a to b.", {"from": "a", "to": "b", "ref": "v2"})
STAGED: tuple[str, str, dict[str, object]] = ("staged", "Release b is ready.", {})


def ended(event: str, text: str, **facts: object) -> tuple[str, str, dict[str, object]]:
    return (event, text, {"from": "a", "to": "b", **facts})


@pytest.mark.parametrize("command", [["update"], ["rollback"], ["update", "--wait"]])
def test_without_a_supervisor_nothing_is_left_behind(run: Commands, command: list[str]) -> None:
    answer = run(*command)

    assert answer.code == ExitCode.NOT_RUNNING
    assert "surefoot: The app in" in answer.err
    assert "Start it with `surefoot run`." in answer.err
    assert not run.home.run.exists()


@pytest.mark.usefixtures("supervisor")
def test_while_an_update_is_in_flight_another_is_refused(run: Commands) -> None:
    Lock(run.home).save(Update(id="other", state=State.STAGED, from_="a", to="b"))

    answer = run("update", "--wait")

    assert answer.code == ExitCode.REFUSED
    assert "Another update is in flight (state `staged`, a to b)." in answer.err
    assert requests.waiting(run.home) is None


@pytest.mark.usefixtures("supervisor")
def test_an_update_that_begins_between_the_look_and_the_request_is_not_followed_by_ours(
    run: Commands, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = requests.put

    def put_while_another_begins(home: Home, request: Request) -> None:
        put(home, request)
        Lock(home).save(Update(id="other", state=State.REQUESTED))

    monkeypatch.setattr(requests, "put", put_while_another_begins)

    assert run("update", "--wait").code == ExitCode.REFUSED
    assert requests.waiting(run.home) is None
    assert supervisor.heard == []


@pytest.mark.usefixtures("supervisor")
def test_while_a_request_is_waiting_another_is_refused_and_the_first_stays(run: Commands) -> None:
    first = Request()
    requests.put(run.home, first)

    answer = run("update")

    assert answer.code == ExitCode.REFUSED
    assert "Another request is waiting already." in answer.err
    assert requests.waiting(run.home) == first


@pytest.mark.usefixtures("supervisor")
def test_a_lock_that_cannot_be_read_is_a_refusal_with_the_way_out(run: Commands) -> None:
    durable.write(run.home.lock, b"{")

    answer = run("update")

    assert answer.code == ExitCode.REFUSED
    assert "End `surefoot run` and start it again" in answer.err


@pytest.mark.usefixtures("supervisor")
def test_after_a_broken_update_only_a_rollback_is_taken(
    run: Commands, supervisor: Supervisor
) -> None:
    Lock(run.home).save(Update(id="other", state=State.BROKEN, reason="The disk is full."))
    supervisor.engine = engine(run.home, ended("rolled_back", "Rolled back."))

    refused = run("update", "--wait")
    taken = run("rollback", "--wait")

    assert refused.code == ExitCode.REFUSED
    assert "broken: The disk is full." in refused.err
    assert taken.code == ExitCode.ROLLED_BACK


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("committed", ExitCode.OK),
        ("up_to_date", ExitCode.OK),
        ("refused", ExitCode.REFUSED),
        ("abandoned", ExitCode.ABANDONED),
        ("rolled_back", ExitCode.ROLLED_BACK),
        ("broken", ExitCode.BROKEN),
    ],
)
def test_waiting_ends_with_the_outcome_as_last_line_and_exit_code(
    run: Commands, supervisor: Supervisor, event: str, code: ExitCode
) -> None:
    supervisor.engine = engine(run.home, BEGUN, STAGED, ended(event, "So it\nended."))

    answer = run("update", "--wait")

    assert answer.code == code
    assert answer.out.splitlines()[-1] == "So it ended."
    assert any(line.endswith(" s  Release b is ready.") for line in answer.out.splitlines())
    assert answer.err == ""


def test_what_the_failed_command_printed_is_shown(run: Commands, supervisor: Supervisor) -> None:
    output = "\n".join(f"line {n}" for n in range(50))
    supervisor.engine = engine(run.home, ended("abandoned", "It failed.", output=output))

    lines = run("update", "--wait").out.splitlines()

    assert lines[-1] == "It failed."
    assert lines[-2].endswith("line 49")
    assert len(lines) < 20


def test_without_waiting_it_ends_when_the_request_is_taken_up(
    run: Commands, supervisor: Supervisor
) -> None:
    supervisor.engine = engine(run.home, BEGUN)

    answer = run("update")

    assert answer.code == ExitCode.OK
    assert "Update: a to b." in answer.out
    assert "It goes on in the supervisor" in answer.out


def test_until_staged_ends_when_the_release_is_ready(run: Commands, supervisor: Supervisor) -> None:
    supervisor.engine = engine(run.home, BEGUN, STAGED)

    answer = run("update", "--json", "--until", "staged", "--to", "v2")

    assert answer.code == ExitCode.OK
    assert (answer.json["outcome"], answer.json["from"], answer.json["to"]) == ("staged", "a", "b")
    assert answer.json["reason"] == ""
    assert "Release b is ready." in answer.err


def test_until_staged_ends_too_when_it_does_not_come_to_that(
    run: Commands, supervisor: Supervisor
) -> None:
    supervisor.engine = engine(run.home, BEGUN, ended("abandoned", "No.", reason="No room."))

    answer = run("rollback", "--json", "--until", "staged")

    assert answer.code == ExitCode.ABANDONED
    assert (answer.json["outcome"], answer.json["reason"]) == ("abandoned", "No room.")


def test_every_refusal_is_an_object_too(run: Commands) -> None:
    answer = run("update", "--json")

    assert answer.code == ExitCode.NOT_RUNNING
    assert answer.json["outcome"] == "not_running"
    assert "does not run under Surefoot" in answer.json["reason"]
    assert answer.err == ""


def test_what_is_asked_for_reaches_the_engine(run: Commands, supervisor: Supervisor) -> None:
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)
        engine(run.home, ended("committed", "Done."))(request)

    supervisor.engine = note
    run("update", "--to", "v2", "--wait")
    run("rollback", "v1", "--wait")
    run("rollback", "--wait")

    assert [(r.kind, r.ref, r.origin) for r in asked] == [
        ("update", "v2", "cli"),
        ("rollback", "v1", "cli"),
        ("rollback", None, "cli"),
    ]
    assert supervisor.heard == ["update"] * 3


def test_events_of_other_updates_are_not_shown(run: Commands, supervisor: Supervisor) -> None:
    History(run.home).append("before", "broken", "Old.")

    def both(request: Request) -> None:
        History(run.home).append("other", "committed", "Not ours.")
        engine(run.home, ended("abandoned", "Ours."))(request)

    supervisor.engine = both
    answer = run("update", "--wait")

    assert answer.code == ExitCode.ABANDONED
    assert answer.out == "Ours.\n"


@pytest.mark.usefixtures("supervisor")
def test_when_the_time_has_passed_it_says_that_the_update_goes_on(run: Commands) -> None:
    answer = run("update", "--wait", "--timeout", "0.2")

    assert answer.code == ExitCode.TIMED_OUT
    assert "it goes on" in answer.err
    assert requests.waiting(run.home) is not None


def test_a_supervisor_that_vanishes_is_noticed(
    run: Commands, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "VANISHED_AFTER_S", 0.5)
    monkeypatch.setattr(follow, "RUNNING_INTERVAL_S", 0.1)
    supervisor.engine = engine(run.home, BEGUN)
    gone = threading.Timer(0.5, supervisor.end)
    gone.start()

    answer = run("update", "--wait")
    gone.join()

    assert answer.code == ExitCode.NOT_RUNNING
    assert "goes on at its next start" in answer.err


def test_a_supervisor_that_comes_back_is_woken_for_the_request(
    run: Commands, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "RUNNING_INTERVAL_S", 0.1)
    successors: list[Supervisor] = []

    def start_again() -> None:
        supervisor.end()
        run.home.control.unlink()
        time.sleep(1)
        successors.append(type(supervisor)(run.home))
        successors[0].engine = engine(run.home, ended("committed", "Done."))

    restart = threading.Timer(0.5, start_again)
    restart.start()
    answer = run("update", "--wait")
    restart.join()
    successors[0].end()

    assert answer.code == ExitCode.OK
    assert successors[0].heard == ["update"]


def test_a_request_that_nobody_took_up_is_withdrawn_when_the_supervisor_vanishes(
    run: Commands, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "VANISHED_AFTER_S", 0.5)
    monkeypatch.setattr(follow, "RUNNING_INTERVAL_S", 0.1)
    gone = threading.Timer(0.5, supervisor.end)
    gone.start()

    answer = run("update", "--wait", "--json")
    gone.join()

    assert answer.json["outcome"] == "not_running"
    assert "withdrawn" in answer.json["reason"]
    assert requests.waiting(run.home) is None


@pytest.mark.usefixtures("supervisor")
def test_ctrl_c_ends_the_watching_and_says_that_the_update_goes_on(home: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "update", "--wait", "--home", home.root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        deadline = time.monotonic() + 30
        while requests.waiting(home) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "The update goes on in the supervisor" in said
    assert "Traceback" not in said
    assert requests.waiting(home) is not None


def make_backup(home: Home, release: str = "0123456789ab") -> str:
    source = home.data / "app.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE note (text)")
    return backups.make(home.backups, source, database="main", release=release).name


def test_a_backup_that_is_not_there_is_refused_with_those_that_are(run: Commands) -> None:
    name = make_backup(run.home)

    answer = run("restore", "none")

    assert answer.code == ExitCode.REFUSED
    assert f"There are: {name}." in answer.err


def test_a_damaged_backup_is_refused_before_anything_is_asked(run: Commands) -> None:
    name = make_backup(run.home)
    file = run.home.backups / f"{name}.db"
    file.write_bytes(file.read_bytes().replace(b"note", b"nope"))

    answer = run("restore", name, "--json")

    assert answer.code == ExitCode.REFUSED
    assert answer.json["outcome"] == "refused"
    assert "is damaged" in answer.json["reason"]


def test_restoring_asks_for_the_backup_and_on_demand_for_its_release(
    run: Commands, supervisor: Supervisor
) -> None:
    name = make_backup(run.home)
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)
        engine(run.home, ended("committed", "Done."))(request)

    supervisor.engine = note
    run("restore", name, "--wait")
    run("restore", f"{name}.db", "--with-release", "--wait")

    assert [(r.kind, r.backup, r.ref) for r in asked] == [
        ("restore", name, None),
        ("restore", name, "0123456789ab"),
    ]


def test_a_line_torn_by_a_crash_does_not_end_the_watching(
    run: Commands, supervisor: Supervisor
) -> None:
    def torn(request: Request) -> None:
        with run.home.history.open("ab") as file:
            file.write(b'{"at":"' + datetime.now(UTC).isoformat().encode())
        engine(run.home, ended("committed", "Done."))(request)

    supervisor.engine = torn

    assert run("update", "--wait").code == ExitCode.OK
