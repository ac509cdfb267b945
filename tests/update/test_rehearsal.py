"""Real migrations by Alembic and real processes, on real copies."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from surefoot.config import Config, parse
from surefoot.databases.processes import in_session
from surefoot.errors import HeldError, StageError
from surefoot.home import Home
from surefoot.releases.store import Store
from surefoot.update import copies
from surefoot.update.databases import Databases
from surefoot.update.lock import Update
from surefoot.update.rehearsal import Rehearsal

TOML = """\
[app]
command = "python app.py{arguments}"
{listen}
[source]
git = "https://example.org/notes.git"
[database]
url = "sqlite:///data/notes.db"
variable = "NOTES_URL"
[health]
path = "/health"
deadline = 20
[update]
rehearse = 0.2
"""
HELD = 'listen = ["127.0.0.1:8000", "unix:run/notes.sock"]'
ENV = """\
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine({url}).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
SCRIPT = """\
import os
from alembic import op
revision = "two"
down_revision = "one"

def upgrade():
    {body}
"""
APP = """\
import http.server, os, socket, sqlite3, sys, time
{first}
database = os.environ["NOTES_URL"].removeprefix("sqlite:///")
connection = sqlite3.connect(database, check_same_thread=False)
rows = connection.execute("SELECT count(*) FROM notes").fetchone()[0]
assert os.environ["SUREFOOT_REHEARSAL"] == "1" and "SUREFOOT_HOME" not in os.environ

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        connection.execute("{writes}")
        connection.commit()
        self.send_response({status})
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass

if "--port" in sys.argv:
    server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler)
else:
    assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "2"
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket = socket.socket(fileno=3)
    server.socket.setblocking(True)
    assert socket.socket(fileno=4).family is socket.AF_UNIX
print("serves", rows, flush=True)
server.serve_forever()
"""


WRITES = "INSERT INTO notes (text) VALUES ('by the new release')"


class World:
    """A home in which an old release serves; the new one is made by the test."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.release = self.home.releases / "new"
        self.code = self.release / "app"
        self.code.mkdir(parents=True)
        self.home.data.mkdir()
        (self.code / "data").symlink_to(self.home.data)
        (self.release / "venv").symlink_to(sys.prefix)
        self.config = parse(TOML.format(arguments="", listen=HELD), {})
        self.real = self.home.data / "notes.db"
        with closing(sqlite3.connect(self.real, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
            connection.execute("CREATE TABLE links (note INTEGER)")
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES ('one')")
            connection.executemany("INSERT INTO notes (text) VALUES (?)", [("a",), ("b",)])
            connection.executemany("INSERT INTO links VALUES (?)", [(1,), (2,)])
        self.update = Update(id="20260101T000000-abcdef", from_="old", to="new", ref="v2")
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.application()

    def application(self, first: str = "", status: int = 200, *, writes: str = WRITES) -> None:
        text = APP.format(first=first, status=status, writes=writes)
        (self.code / "app.py").write_text(text)

    def migration(self, body: str, *, url: str = 'os.environ["NOTES_URL"]') -> None:
        versions = self.code / "migrations" / "versions"
        versions.mkdir(parents=True)
        (self.code / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
        (self.code / "migrations" / "env.py").write_text(ENV.format(url=url))
        one = SCRIPT.format(body="pass").replace('"one"', "None").replace('"two"', '"one"')
        (versions / "one.py").write_text(one)
        (versions / "two.py").write_text(SCRIPT.format(body=body))

    def rehearse(
        self, config: Config | None = None, *, touched: bool = False, **update: Any
    ) -> Update:
        config = config or self.config
        databases = Databases(self.home, config, Store(self.home), lambda *_: None)
        made = {}
        for each in databases:
            if each.exists():
                made[each.name] = each.back_up(self.home.backups, update="", release="")
        before = content(self.real)
        try:
            return Rehearsal(
                self.home,
                config,
                replace(self.update, **update),
                self.release,
                databases,
                made,
                self._tell,
            ).run()
        except StageError as error:
            sys.stdout.write(error.output[-3000:])  # shown where the test has failed
            raise
        finally:
            assert touched or content(self.real) == before, "the real database was touched"
            assert not (self.home.backups / "rehearsal").exists()

    def _tell(self, event: str, text: str, **facts: Any) -> None:
        self.told.append((event, text, facts))

    @property
    def events(self) -> list[str]:
        return [event for event, _, _ in self.told if event != "rehearsing"]

    def said(self, event: str) -> str:
        return next(text for name, text, _ in self.told if name == event)


def content(database: Path) -> list[str]:
    if not database.exists():
        return []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def running(world: World) -> list[int]:
    """Every process of the rehearsal, whatever became of it."""
    mark = os.fsencode(f"SUREFOOT_MIGRATION={world.home.backups}/rehearsal/")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_good_release_runs_on_a_copy_and_nothing_is_left_of_it(world: World) -> None:
    world.migration("op.execute('ALTER TABLE notes ADD COLUMN words INTEGER')")
    world.application(
        'sqlite3.connect(os.environ["NOTES_URL"][10:]).execute("SELECT words FROM notes")'
    )
    update = world.rehearse()
    assert update.rehearsed is True
    assert update.heeded == ["main"]
    assert world.events == ["migration_rehearsed", "rehearsed"]
    assert "nothing is lost" in world.said("migration_rehearsed")
    assert running(world) == []


def test_where_nothing_is_to_be_migrated_the_release_is_tried_all_the_same(world: World) -> None:
    assert world.rehearse().rehearsed is True
    assert world.events == ["rehearsed"]


@pytest.mark.parametrize("command", ["--port 8000", "--host 0.0.0.0 --port 8000"])
def test_without_held_sockets_the_port_in_the_command_is_another(
    world: World, command: str
) -> None:
    config = parse(TOML.format(arguments=f" {command}", listen=""), {})
    assert world.rehearse(config).rehearsed is True


@pytest.mark.parametrize(
    ("first", "status", "reason", "output"),
    [
        ("import notes_wrods", 200, "`app` ended with exit code 1", "No module named"),
        ("", 500, "answered 500, expected 200", "serves 2"),
        ("print('hangs', flush=True); time.sleep(1000)", 200, "no good answer within 2 s", "hangs"),
        ("os.kill(os.getpid(), 9)", 200, "ended with exit code 137", ""),
    ],
)
def test_a_bad_release_is_found_out_with_what_it_has_printed(
    world: World, first: str, status: int, reason: str, output: str
) -> None:
    world.application(first, status)
    health = replace(world.config.health, deadline_s=20 if "hangs" not in first else 2)
    with pytest.raises(StageError, match=reason) as failed:
        world.rehearse(replace(world.config, health=health))
    assert output in failed.value.output
    assert "The app was not touched" in str(failed.value)
    assert "rehearse = 0" in failed.value.next_step
    assert running(world) == []


def test_it_gets_no_descriptor_of_ours(world: World, tmp_path: Path) -> None:
    """The engine has the public sockets open, and the supervisor's pipes."""
    public = tmp_path / "public"
    descriptor = os.open(public, os.O_RDWR | os.O_CREAT)
    os.set_inheritable(descriptor, True)
    world.application(
        "for number in os.listdir('/proc/self/fd'):\n"
        f"    assert not os.path.realpath('/proc/self/fd/' + number) == {str(public)!r}"
    )
    try:
        assert world.rehearse().rehearsed is True
    finally:
        os.close(descriptor)


def test_what_leaves_its_session_is_ended_as_well(world: World, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    world.application(
        "import subprocess\n"
        "left = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        f"open({str(pid)!r}, 'w').write(str(left.pid))"
    )
    world.rehearse()
    assert in_session(int(pid.read_text())) == []


def test_a_failing_migration_ends_the_update_with_its_own_output(world: World) -> None:
    world.migration(
        "op.execute('DELETE FROM notes'); op.get_context().connection.commit();"
        "raise ValueError('never tried')"
    )
    with pytest.raises(StageError, match="never tried") as failed:
        world.rehearse()
    assert "Traceback" in failed.value.output
    assert not isinstance(failed.value, HeldError)


def test_a_migration_that_loses_data_is_held_with_a_table(world: World) -> None:
    world.migration("op.execute('DELETE FROM links')")
    with pytest.raises(HeldError) as held:
        world.rehearse()
    assert "links loses 2 of 2 rows" in str(held.value)
    assert "surefoot update --to v2 --accept-data-changes" in held.value.next_step
    assert "links            2           0" in held.value.output
    assert world.events == ["migration_rehearsed", "held"]


def test_once_it_is_accepted_it_goes_on(world: World) -> None:
    world.migration("op.execute('DROP TABLE links')")
    assert world.rehearse(accept_data_changes=True).rehearsed is True
    assert "the table links with 2 rows is gone" in world.said("migration_rehearsed")


@pytest.mark.parametrize("origin", ["schedule", "cli"])
def test_a_migration_that_takes_too_long_waits_for_a_person(world: World, origin: str) -> None:
    world.migration("pass")
    config = replace(world.config, update=replace(world.config.update, max_window_s=0.001))
    if origin == "schedule":
        with pytest.raises(HeldError, match="more than `max_window`"):
            world.rehearse(config, origin=origin)
    else:
        assert world.rehearse(config, origin=origin).rehearsed is True
        assert "more than `max_window`" in world.said("long_window")
    assert world.told[1][2]["duration_s"] > 0.001


def test_a_migration_that_does_not_heed_the_variable_is_never_run(world: World) -> None:
    world.migration("op.execute('DROP TABLE notes')", url='"sqlite:///data/notes.db"')
    assert world.rehearse().rehearsed is False
    assert world.events == ["rehearsal_skipped", "rehearsal_skipped"]
    assert "NOTES_URL" in world.said("rehearsal_skipped")


def test_of_code_that_does_not_mention_the_variable_nothing_is_run(world: World) -> None:
    world.migration("pass", url='"sqlite:///data/notes.db"')
    ran = world.code / "ran"
    [script] = world.code.rglob("env.py")
    script.write_text(f"open({str(ran)!r}, 'w')\n{script.read_text().replace('NOTES_URL', '')}")
    for file in world.code.rglob("*.py"):
        file.write_text(file.read_text().replace("NOTES_URL", "OTHER"))
    assert world.rehearse().rehearsed is False
    assert "nothing in the release mentions NOTES_URL" in world.said("rehearsal_skipped")
    assert not ran.exists()


def test_a_command_that_goes_for_the_real_database_is_found_out(world: World) -> None:
    (world.code / "migrate.py").write_text(
        "import sqlite3; sqlite3.connect('data/notes.db').execute('CREATE TABLE tags (id)')"
    )
    config = without(world.config, "database", migrate="python migrate.py")
    with pytest.raises(StageError, match="real database main has changed") as failed:
        world.rehearse(config, touched=True)
    assert "surefoot backups" in failed.value.next_step


def test_a_command_that_goes_where_it_is_told_is_compared_too(world: World) -> None:
    (world.code / "migrate.py").write_text(
        "import os, sqlite3; c = sqlite3.connect(os.environ['NOTES_URL'][10:]);"
        "c.execute('DELETE FROM notes WHERE id = 1'); c.commit()"
    )
    with pytest.raises(HeldError, match="notes loses 1 of 2 rows"):
        world.rehearse(without(world.config, "database", migrate="python migrate.py"))


def test_a_database_that_is_not_there_yet_is_made_on_the_side(world: World) -> None:
    world.real.unlink()
    world.migration("op.execute('CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)')")
    assert world.rehearse().rehearsed is True
    assert world.events == ["migration_rehearsed", "rehearsed"]
    assert not world.real.exists()


def test_an_env_py_that_cannot_be_run_ends_the_update(world: World) -> None:
    world.migration("pass", url="os.environ['NOT_SET']")
    with pytest.raises(StageError, match="NOT_SET"):
        world.rehearse()


def test_a_migration_knows_that_it_is_a_rehearsal(world: World) -> None:
    world.migration("raise ValueError('marked ' + os.environ['SUREFOOT_REHEARSAL'])")
    with pytest.raises(StageError, match="marked 1"):
        world.rehearse()


def test_an_app_that_opens_the_real_database_is_stopped_and_not_trusted(world: World) -> None:
    world.application("os.environ['NOTES_URL'] = 'data/notes.db'", writes="SELECT 1")
    assert world.rehearse().rehearsed is False
    assert "notes.db, although it was told of a copy" in world.said("rehearsal_skipped")
    assert running(world) == []


def without(config: Config, section: str, **keys: Any) -> Config:
    part = config.database["main"] if section == "database" else getattr(config, section)
    changed = replace(part, **keys)
    return replace(config, **{section: {"main": changed} if section == "database" else changed})


@pytest.mark.parametrize(
    ("section", "keys", "reason"),
    [
        ("health", {"path": None}, "over HTTP"),
        ("health", {"path": None, "http": "http://127.0.0.1:9999/"}, "not on the app's own"),
        ("database", {"variable": None}, "no variable tells"),
        ("app", {"listen": []}, "another address"),
    ],
)
def test_what_cannot_be_rehearsed_is_said(
    world: World, section: str, keys: dict[str, Any], reason: str
) -> None:
    assert world.rehearse(without(world.config, section, **keys)).rehearsed is False
    assert world.events == ["rehearsal_skipped"]
    assert reason in world.said("rehearsal_skipped")


def test_a_whole_address_is_asked_at_the_private_place(world: World) -> None:
    config = without(world.config, "health", path=None, http="http://localhost:8000/health")
    assert world.rehearse(config).rehearsed is True


def test_a_pending_migration_that_cannot_be_redirected_is_not_tried(world: World) -> None:
    world.migration("raise ValueError")
    assert world.rehearse(without(world.config, "database", variable=None)).rehearsed is False
    assert world.events == ["rehearsal_skipped", "rehearsal_skipped"]


def test_both_parts_can_be_switched_off(world: World) -> None:
    world.migration("raise ValueError")
    world.application("raise ValueError")
    off = without(world.config, "update", rehearse_s=0, rehearse_migrations=False)
    assert world.rehearse(off).rehearsed is False
    assert world.events == ["rehearsal_skipped"]


def test_of_several_processes_only_the_one_that_serves_is_run(world: World) -> None:
    commands = {"worker": "python worker.py", "web": "python app.py"}
    config = without(world.config, "app", command=None, processes=commands)
    assert world.rehearse(config).rehearsed is False  # the worker is still to be judged
    assert world.events == ["rehearsed"]


def test_what_a_killed_engine_has_left_is_ended_and_removed(world: World) -> None:
    folder = world.home.backups / "rehearsal" / "20250101T000000-000000"
    folder.mkdir(parents=True)
    (folder / "notes.db").write_bytes(b"half")
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {"SUREFOOT_MIGRATION": str(folder)})
    while not running(world):
        time.sleep(0.01)
    copies.clean(world.home)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    assert not folder.parent.exists()
    copies.clean(world.home)


SEARCH = '[database.search]\nurl = "sqlite:///data/search.db"\nmigrate = "none"\n'


def with_search(world: World, *, variable: str = "") -> Config:
    """A second database, which nobody migrates; the migration of the first one may reach it."""
    path = world.home.data / "search.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE words (text TEXT)")
        connection.execute("INSERT INTO words VALUES ('a')")
    text = TOML.format(arguments="", listen=HELD).replace("[database]", "[database.main]")
    return parse(f"{text}rehearse_migrations = true\n{SEARCH}{variable}", {})


def test_what_a_migration_does_to_another_database_is_seen_too(world: World) -> None:
    world.migration(
        "op.get_bind().exec_driver_sql('ATTACH DATABASE ? AS search',"
        " (os.environ['SEARCH_URL'][10:],));"
        " op.execute('DELETE FROM search.words')"
    )
    env = world.code / "migrations" / "env.py"
    env.write_text(
        env.read_text().replace(
            "connect()", "execution_options(isolation_level='AUTOCOMMIT').connect()"
        )
    )  # ATTACH is none of a transaction's
    config = with_search(world, variable='variable = "SEARCH_URL"\n')
    before = content(world.home.data / "search.db")
    with pytest.raises(HeldError, match=r"words loses 1 of 1 rows \(database search\)") as held:
        world.rehearse(config)
    assert "database search\n" in held.value.output
    assert world.rehearse(config, accept_data_changes=True).heeded == ["main", "search"]
    assert content(world.home.data / "search.db") == before


def test_a_migration_that_attaches_what_it_cannot_be_told_of_is_not_run(world: World) -> None:
    world.migration(
        "op.execute(\"ATTACH DATABASE 'data/search.db' AS search\");"
        " op.execute('DELETE FROM search.words')"
    )
    config = with_search(world)
    before = content(world.home.data / "search.db")
    assert world.rehearse(config).rehearsed is False
    assert "no variable tells it where search is" in world.said("rehearsal_skipped")
    assert content(world.home.data / "search.db") == before
