"""What the doctor sees, and that it says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.databases.postgresql_server import (
    PASSWORD,
    QUOTED_PASSWORD,
    postgresql,
    postgresql_server,
)

from surefoot import config, durable
from surefoot.cli.doctor import app
from surefoot.cli.doctor.check import Check, Level, Subject, ok, problem
from surefoot.cli.doctor.command import CHECKS
from surefoot.errors import ExitCode, SurefootError
from surefoot.update.history import Event
from surefoot.update.lock import Lock, Update
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Commands
    from tests.databases.postgresql_server import PostgresqlServer
    from tests.releases.remote import Remote

    from surefoot.cli.doctor.check import Finding
    from surefoot.home import Home
    from surefoot.releases.store import Release


__all__ = ["postgresql", "postgresql_server"]


class Findings:
    def __init__(self, found: list[dict[str, Any]]) -> None:
        self._found = found

    def __getitem__(self, check: str) -> dict[str, Any]:
        """The worst finding of a check."""
        order = list(Level)
        found = [f for f in self._found if f["check"] == check]
        return max(found, key=lambda f: order.index(Level(f["level"])))


def examined(run: Commands) -> Findings:
    return Findings(run("doctor", "--json").json)


def test_a_new_home_has_no_problem(run: Commands) -> None:
    answer = run("doctor")

    assert answer.code == 0, answer.out
    assert answer.out.splitlines()[-1] == "No problems."
    assert "Start it with `surefoot run`." in answer.out


def test_every_check_reports_something_on_an_installed_app(
    run: Commands, installed: Release
) -> None:
    assert installed
    found = run("doctor", "--json").json

    assert {f["check"] for f in found} == {check.name for check in CHECKS}
    assert all(f["text"] for f in found)
    assert all(f["to_do"] for f in found if f["level"] == "problem")


def test_a_problem_ends_it_with_1(run: Commands) -> None:
    (run.home.root / "surefoot.toml").write_text("[app")

    answer = run("doctor")

    assert answer.code == ExitCode.FAILED
    assert "PROBLEM  configuration:" in answer.out
    assert answer.out.splitlines()[-1] == "1 problem."


def test_a_source_that_does_not_answer(run: Commands, remote: Remote) -> None:
    shutil.rmtree(remote.folder)

    assert examined(run)["source"]["level"] == "problem"


def test_an_address_that_somebody_else_has(run: Commands) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        file = run.home.root / "surefoot.toml"
        address = f"127.0.0.1:{other.getsockname()[1]}"
        file.write_text(file.read_text().replace("[source]", f'listen = ["{address}"]\n[source]'))

        found = examined(run)["address"]

    assert found["level"] == "problem"
    assert f"{address} cannot be used" in found["text"]
    assert examined(run)["address"]["level"] == "ok"


@pytest.mark.parametrize(
    ("text", "level", "what"),
    [
        (None, "problem", "cannot be read"),
        ("<script>location.reload()</script>$titel", "warning", "$titel"),
        ("<h1>Closed</h1>", "warning", "reload"),
        ('<meta http-equiv="refresh" content="$retry_after">$title', "ok", "is shown"),
    ],
)
def test_a_maintenance_page_of_the_apps_own(
    home: Home, text: str | None, level: str, what: str
) -> None:
    if text:
        (home.root / "closed.html").write_text(text)
    settings = config.parse("app.command = 'x'\nsource.git = 'x'\ngate.page = 'closed.html'\n")
    [found] = app.page(Subject(home, settings, "", running=False))
    assert found.level == level
    assert what in found.text


def test_a_lock_that_cannot_be_read(run: Commands) -> None:
    durable.write(run.home.lock, b"")

    assert examined(run)["lock"]["level"] == "problem"


@pytest.mark.parametrize(("state", "level"), [(State.STAGED, "warning"), (State.BROKEN, "problem")])
def test_an_update_that_was_left(run: Commands, state: State, level: str) -> None:
    Lock(run.home).save(Update(id="u", state=state))

    assert examined(run)["lock"]["level"] == level


def test_a_current_that_leads_nowhere(run: Commands) -> None:
    run.home.current.symlink_to("releases/0123456789ab")

    assert examined(run)["release"]["level"] == "problem"


def test_an_environment_that_is_not_there(run: Commands, installed: Release) -> None:
    assert installed

    assert examined(run)["environment"]["level"] == "problem"


def test_data_that_lies_inside_the_release(run: Commands, installed: Release) -> None:
    (run.home.releases / installed.id / "app" / "logs").mkdir()

    found = examined(run)["kept paths"]

    assert found["level"] == "problem"
    assert found["text"].startswith("logs lies inside the release")


def make_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE note (text)")
    return connection


def test_a_postgresql_database(run: Commands, postgresql: PostgresqlServer) -> None:
    postgresql.make_database("notes")
    file = run.home.root / "surefoot.toml"
    file.write_text(file.read_text().replace("sqlite:///data/app.db", postgresql.url("notes")))
    file.chmod(0o600)

    found = examined(run)["database"]
    assert found["level"] == "ok"
    assert f"notes on 127.0.0.1:{postgresql.port}, PostgreSQL " in found["text"]

    file.chmod(0o644)
    assert examined(run)["database"]["to_do"] == f"chmod o-r {file}"
    with postgresql.superuser("postgres") as session:
        session.execute("ALTER ROLE notes NOCREATEDB")
        try:
            answer = run("doctor")
        finally:
            session.execute("ALTER ROLE notes CREATEDB")
    assert answer.code == ExitCode.FAILED
    assert "ALTER ROLE notes CREATEDB" in answer.out
    postgresql.drop_all()
    assert "createdb" in examined(run)["database"]["to_do"]
    assert PASSWORD not in answer.out
    assert QUOTED_PASSWORD not in answer.out


def test_a_database_that_is_fine(run: Commands) -> None:
    make_database(run.home.data / "app.db").close()

    assert examined(run)["database"]["level"] == "ok"


def test_a_database_that_somebody_has_open_while_the_app_does_not_run(run: Commands) -> None:
    with closing(make_database(run.home.data / "app.db")):
        found = examined(run)["database"]

    assert found["level"] == "warning"
    assert f"({os.getpid()})" in found["text"]


def test_a_database_that_is_none(run: Commands) -> None:
    (run.home.data / "app.db").write_bytes(b"no database" * 1000)

    assert examined(run)["database"]["level"] == "problem"


def test_a_damaged_backup(run: Commands) -> None:
    run.home.backups.mkdir(parents=True)
    (run.home.backups / "20260101T000000Z_a_main.db").write_bytes(b"")

    assert examined(run)["backups"]["level"] == "warning"


def test_a_clock_that_was_set_back(run: Commands) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    line = msgspec.json.encode(Event(at=later, update="u", event="requested"))
    run.home.history.write_bytes(line + b"\n")

    assert examined(run)["clock"]["level"] == "warning"


def test_a_python_that_is_not_on_this_machine(run: Commands) -> None:
    file = run.home.root / "surefoot.toml"
    file.write_text(file.read_text() + '[build]\npython = "3.99"\n')

    assert examined(run)["python"]["level"] == "problem"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(run: Commands) -> None:
    run.home.data.chmod(0o500)
    try:
        assert examined(run)["home"]["level"] == "problem"
    finally:
        run.home.data.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_a_home_that_belongs_to_somebody_else(run: Commands) -> None:
    os.chown(run.home.root, 12345, -1)

    assert examined(run)["home"]["level"] == "warning"


def test_a_check_that_fails_is_a_problem_and_the_others_go_on() -> None:
    def failing(_: Subject) -> Iterator[Finding]:
        yield ok("So far.")
        raise SurefootError("It went wrong.", next_step="Look.")

    subject: Any = None
    found = Check("one", failing).findings(subject)

    assert found == [ok("So far."), problem("It went wrong.", "Look.")]
