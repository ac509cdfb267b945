import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.databases import support

from surefoot.config import Database
from surefoot.databases import migrations, processes, revisions, snapshot, sqlite
from surefoot.databases.database import SqliteDatabase
from surefoot.errors import DatabaseError, MigrationError

INI = """\
[alembic]
script_location = %(here)s/migrations
sqlalchemy.url = sqlite:///data/app.db
"""
ENV = """\
import os
from alembic import context
from sqlalchemy import create_engine

url = os.environ.get("DATABASE_URL") or context.config.get_main_option("sqlalchemy.url")
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
SCRIPT = '''\
"""{id}"""
from typing import Union
import sqlalchemy as sa
from alembic import op

revision: str = "{id}"
down_revision: Union[str, None] = {before!r}
depends_on = {depends_on!r}


def upgrade() -> None:
    {body}
'''
CREATE = 'op.create_table("{0}", sa.Column("id", sa.Integer, primary_key=True))'


class Project:
    """A release with Alembic, and the database that it migrates."""

    def __init__(self, home: Path) -> None:
        self.code = home / "code"
        self.versions = self.code / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        (self.code / "alembic.ini").write_text(INI)
        (self.code / "migrations" / "env.py").write_text(ENV)
        self.database = home / "app.db"
        self.real = SqliteDatabase("main", self.database)

    def add(
        self, name: str, before: object, body: str = "pass", depends_on: object = None
    ) -> "Project":
        text = SCRIPT.format(id=name, before=before, body=body, depends_on=depends_on)
        (self.versions / f"{name}_script.py").write_text(text)
        return self

    @property
    def migration(self) -> migrations.Migration:
        found = migrations.detect(self.code, Database(url="sqlite:///app.db"))
        assert found is not None
        return found

    def run(self, **environment: str) -> str:
        return migrations.run(
            self.migration,
            environment=environment_of(DATABASE_URL=f"sqlite:///{self.database}", **environment),
            cwd=self.code,
            timeout_s=60,
        )


def environment_of(**more: str) -> dict[str, str]:
    return {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}


def command(text: str, code: Path) -> migrations.Migration:
    found = migrations.detect(code, Database(url="sqlite:///app.db", migrate=text))
    assert found is not None
    return found


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path).add("a1", None, CREATE.format("first")).add("b2", "a1")


def test_how_a_release_migrates_is_found_out(project: Project, tmp_path: Path) -> None:
    url = "sqlite:///app.db"
    assert project.migration.command == "alembic upgrade head"
    assert migrations.detect(project.code, Database(url=url, migrate="none")) is None
    assert migrations.detect(tmp_path, Database(url=url)) is None
    assert command("./manage.py migrate", tmp_path).kind == "command"


def test_alembic_is_run_and_afterwards_nothing_is_pending(project: Project) -> None:
    assert migrations.pending(project.migration, project.real) is True
    assert not project.database.exists()
    project.run()
    assert project.real.revisions() == ["b2"]
    assert migrations.pending(project.migration, project.real) is False
    assert sqlite.rows_per_table(project.database)["first"] == 0
    project.add("c3", "b2")
    assert migrations.pending(project.migration, project.real) is True


def test_alembic_is_found_without_its_script(project: Project, tmp_path: Path) -> None:
    only_python = tmp_path / "bin"
    only_python.mkdir()
    (only_python / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (only_python / "python").chmod(0o755)
    migrations.run(
        project.migration,
        environment={"PATH": str(only_python), "DATABASE_URL": f"sqlite:///{project.database}"},
        cwd=project.code,
        timeout_s=60,
    )
    assert project.real.revisions() == ["b2"]


def test_branches_merges_and_dependencies_are_followed(project: Project) -> None:
    project.add("c3", "a1").add("d4", ("b2", "c3"))
    assert migrations.heads(project.code) == ["d4"]
    project.add("x1", None, depends_on="b2").add("e5", "a1")
    assert migrations.heads(project.code) == ["d4", "e5", "x1"]
    assert project.migration.command == "alembic upgrade heads"
    project.run()
    assert migrations.pending(project.migration, project.real) is False
    project.add("f6", "e5")
    assert migrations.pending(project.migration, project.real) is True


def test_what_was_read_while_the_app_served_is_not_parsed_again_in_the_window(
    project: Project,
) -> None:
    def parsed() -> int:
        return revisions._parsed.cache_info().misses

    before = parsed()
    assert migrations.heads(project.code) == ["b2"]
    assert parsed() == before + 2
    assert migrations.pending(project.migration, project.real)
    assert parsed() == before + 2
    project.add("c3", "b2", "op.execute('SELECT 1')")
    project.add("b2", "a1", "op.execute('SELECT 1')")
    assert migrations.heads(project.code) == ["c3"]
    assert parsed() == before + 4


@pytest.mark.parametrize(
    ("scripts", "to"),
    [
        ({"a": None, "b": "a", "c": "b"}, ["a"]),
        ({"a": None, "b": "a", "c": "b"}, []),
        ({"a": None, "b": "a", "x": "a", "y": "x"}, ["b"]),
        ({"a": None, "b": "a", "x": "a", "m": ("b", "x")}, ["b", "x"]),
        ({"a": None, "b": "a", "x": "a", "m": ("b", "x")}, ["a"]),
        ({"a": None, "b": "a", "x": "a", "y": "x", "m": ("b", "y")}, ["b", "x"]),
        ({"a": None, "other": None, "next": "other"}, ["a"]),
    ],
)
def test_the_way_back_takes_back_what_is_newer_and_nothing_else(
    tmp_path: Path, scripts: dict[str, object], to: list[str]
) -> None:
    project = Project(tmp_path)
    for name, before in scripts.items():
        body = f'op.execute("CREATE TABLE t_{name} (x)")'
        project.add(
            name, before, f"{body}\n\ndef downgrade() -> None:\n    op.drop_table('t_{name}')"
        )
    project.run()
    back = migrations.downgrade(project.migration, project.real, to, [])
    assert migrations.pending(back, project.real)
    migrations.run(
        back, environment=environment_of(DATABASE_URL=f"sqlite:///{project.database}"),
        cwd=project.code, timeout_s=60,
    )  # fmt: skip
    assert project.real.revisions() == sorted(to)
    assert migrations.pending(back, project.real) is False


def test_there_is_no_way_back_to_what_is_not_known(project: Project) -> None:
    project.run()
    with pytest.raises(DatabaseError, match="does not know the revision c3"):
        migrations.downgrade(project.migration, project.real, ["c3"], [])
    with closing(sqlite3.connect(project.database, isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'a1'")
    with pytest.raises(DatabaseError, match="has never been at the revision b2"):
        migrations.downgrade(project.migration, project.real, ["b2"], [])
    with pytest.raises(DatabaseError, match="does not say at which revision"):
        migrations.downgrade(project.migration, project.real, None, [])
    with pytest.raises(DatabaseError, match="no downgrade but Alembic's"):
        migrations.downgrade(command("make migrate", project.code), project.real, ["a1"], [])


def test_several_places_of_scripts_are_read(project: Project) -> None:
    more = project.code / "plugin" / "versions"
    more.mkdir(parents=True)
    (more / "p1.py").write_text('revision = "p1"\ndown_revision = ["b2"]\n')
    (more / "helpers.py").write_text("x = 1\n")
    for line in (
        "version_locations = %(here)s/migrations/versions:plugin/versions\npath_separator = :",
        "version_locations = migrations/versions plugin/versions",
        "version_locations = migrations/versions, plugin/versions",
        "version_locations = migrations/versions;plugin/versions\nversion_path_separator = ;",
    ):
        (project.code / "alembic.ini").write_text(INI + line + "\n")
        assert migrations.heads(project.code) == ["p1"]


def test_nothing_of_the_release_is_run_by_reading_it(project: Project, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = project.versions / "a1_script.py"
    script.write_text(script.read_text() + f"\nopen({str(ran)!r}, 'w')\n")
    assert migrations.heads(project.code) == ["b2"]
    assert migrations.pending(project.migration, project.real) is True
    assert not ran.exists()


@pytest.mark.parametrize(
    "text",
    ["revision = make()\ndown_revision = None", "revision = (", "revision, down_revision = 2, 1"],
)
def test_what_cannot_be_read_is_not_guessed_at(project: Project, text: str) -> None:
    (project.versions / "odd.py").write_text(text)
    assert migrations.pending(project.migration, project.real) is None
    with pytest.raises(DatabaseError, match=r"odd\.py"):
        migrations.revisions(project.code)


def test_whether_a_command_has_something_to_do_is_not_known(tmp_path: Path) -> None:
    assert (
        migrations.pending(
            command("./migrate.sh", tmp_path), SqliteDatabase("main", tmp_path / "app.db")
        )
        is None
    )
    assert migrations.pending(None, SqliteDatabase("main", tmp_path / "app.db")) is False


def test_a_database_from_the_future_is_refused(project: Project) -> None:
    project.run()
    migrations.check_reachable(project.migration, project.real, "v1")
    (project.versions / "b2_script.py").unlink()
    with pytest.raises(DatabaseError, match="database is at b2, which release v1 does not know"):
        migrations.check_reachable(project.migration, project.real, "v1")


def test_a_failed_migration_says_the_decisive_line_and_leaves_every_row(
    project: Project, tmp_path: Path
) -> None:
    project.run()
    support.make(tmp_path / "other.db")
    with closing(sqlite3.connect(project.database)) as app:
        app.executemany("INSERT INTO first VALUES (?)", [(n,) for n in range(100)])
        app.commit()
    before = support.content(project.database)
    # The driver does not put DDL into a transaction: the first half stays in the database.
    half = CREATE.format("half") + '; op.drop_table("nowhere")'
    project.add("c3", "b2", half)
    record = snapshot.take("main", project.database, tmp_path / "snapshots")
    with pytest.raises(MigrationError, match=r"OperationalError.*no such table: nowhere") as caught:
        project.run(**snapshot.migration_environment(record, None))
    assert "Running upgrade" in caught.value.output or "Traceback" in caught.value.output
    assert "half" in sqlite.rows_per_table(project.database)
    snapshot.prepare(record)
    assert support.content(project.database) == before


def test_the_output_of_a_command_is_returned(tmp_path: Path) -> None:
    text = migrations.run(
        command("echo $WHAT; pwd; echo bad >&2", tmp_path),
        environment=environment_of(WHAT="applied"),
        cwd=tmp_path,
        timeout_s=60,
    )
    assert text.split() == ["applied", str(tmp_path), "bad"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo one; echo two; exit 3", "failed with exit code 3: two"),
        ("kill -9 $$", "was ended by SIGKILL"),
        ("echo 'x.Error: why'; echo '(Background on this)'; exit 1", "x.Error: why"),
        ("exit 1", "failed with exit code 1."),
        ("./not-there", "not found"),
    ],
)
def test_a_failure_is_told_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(MigrationError) as caught:
        migrations.run(
            command(text, tmp_path), environment=environment_of(), cwd=tmp_path, timeout_s=60
        )
    assert says in caught.value.message


def test_a_migration_that_takes_too_long_is_ended_with_all_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    text = f"trap '' TERM; sleep 100 & echo $! $$ > {pids}; wait"
    with pytest.raises(MigrationError, match="longer than 1 s"):
        migrations.run(
            command(text, tmp_path), environment=environment_of(), cwd=tmp_path, timeout_s=1
        )
    child, session = map(int, pids.read_text().split())
    assert processes.in_session(session) == []
    assert not Path(f"/proc/{child}/fd").exists() or not list_open(child)


def list_open(pid: int) -> list[Path]:
    """Empty for a zombie that nobody has waited for yet."""
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return []


def test_what_a_migration_leaves_running_is_ended_though_it_succeeded(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    migrations.run(
        command(f"sleep 100 & echo $! > {pid}", tmp_path),
        environment=environment_of(),
        cwd=tmp_path,
        timeout_s=60,
    )
    assert not list_open(int(pid.read_text()))


def test_a_process_that_left_the_session_is_ended_before_the_migration_is_adopted(
    tmp_path: Path,
) -> None:
    database = support.make(tmp_path / "app.db")
    record = snapshot.take("main", database, tmp_path / "snapshots")
    pid = tmp_path / "pid"
    migrations.run(
        command(f"setsid sh -c 'echo $$ > {pid}; exec sleep 100' & sleep 0.5", tmp_path),
        environment=environment_of(**snapshot.migration_environment(record, "URL")),
        cwd=tmp_path,
        timeout_s=60,
    )
    assert list_open(int(pid.read_text()))
    snapshot.adopt(record)
    assert not list_open(int(pid.read_text()))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:s3cr%2Ft@h/d", "s3cr%2Ft"),
        ("postgresql://u:s3cr%2Ft@h/d", "the password s3cr/t"),
        ("postgresql+asyncpg://u:ab@h/d", "postgresql://u:ab@h/d"),
        ("postgresql://u:p@ss:word@h/d", "p@ss:word"),
    ],
)
def test_what_it_prints_is_kept_without_the_password(tmp_path: Path, url: str, said: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url}
    command = migrations.Migration("command", f"echo 'about to use {said}'; exit 1", tmp_path)

    with pytest.raises(MigrationError) as caught:
        migrations.run(command, environment=environment, cwd=tmp_path, timeout_s=20)

    told = caught.value.output + str(caught.value)
    assert "***" in told
    for secret in ("s3cr", ":ab@", "p@ss"):
        assert secret not in told
