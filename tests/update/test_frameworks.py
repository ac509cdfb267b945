"""Real Django and real Flask-Migrate: found out, asked, migrated and taken back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from surefoot.config import Database, parse
from surefoot.databases import migrations
from surefoot.databases.database import SqliteDatabase
from surefoot.errors import ConfigurationError, HeldError
from surefoot.home import Home
from surefoot.releases.store import Release, Store
from surefoot.update import remembered
from surefoot.update.databases import Databases
from surefoot.update.going_back import GoingBack
from surefoot.update.lock import Update
from surefoot.update.rehearsal import Rehearsal

if TYPE_CHECKING:
    from surefoot.databases.migrations import Migration

MANAGE = """\
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
SETTINGS = """\
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["notes"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    alias: {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ[variable].removeprefix("sqlite:///"),
    }
    for alias, variable in (("default", "DATABASE_URL"), ("search", "SEARCH_URL"))
}
"""
MODELS = """\
from django.db import models
class Note(models.Model):
    text = models.TextField()
"""
FIRST = """\
from django.db import migrations, models
class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Note",
            [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())],
        )
    ]
"""
SECOND = """\
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("notes", "0001_initial")]
    operations = [migrations.AddField("note", "words", models.IntegerField(default=0))]
"""
TOML = """\
[app]
command = "python manage.py runserver"
[source]
git = "https://example.org/notes.git"
[database.main]
url = "sqlite:///data/notes.db"
variable = "DATABASE_URL"
[database.search]
url = "sqlite:///data/search.db"
variable = "SEARCH_URL"
[update]
rehearse = 0
"""
URL = Database(url="sqlite:///app.db")


class Django:
    """A home with a Django release that has two databases, both at its first migration."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.release = self.home.releases / ("a" * 12)
        self.code = self.release / "app"
        migrations_folder = self.code / "notes" / "migrations"
        migrations_folder.mkdir(parents=True)
        self.home.data.mkdir()
        (self.release / "venv").symlink_to(sys.prefix)
        for name, text in (
            ("manage.py", MANAGE), ("settings.py", SETTINGS), ("notes/__init__.py", ""),
            ("notes/models.py", MODELS), ("notes/migrations/__init__.py", ""),
            ("notes/migrations/0001_initial.py", FIRST),
        ):  # fmt: skip
            (self.code / name).write_text(text)
        self.config = parse(TOML, {})
        self.databases = Databases(self.home, self.config, Store(self.home), lambda *_: None)
        self.told: list[str] = []

    def detect(self, name: str) -> Migration:
        found = migrations.detect(self.code, self.config.database[name], name)
        assert found is not None
        return found

    def migrate(self, name: str) -> None:
        urls = {
            settings.variable or "": settings.url_in(self.home.root)
            for settings in self.config.database.values()
        }
        run(self.detect(name), self.code, **urls)

    def rehearse(self) -> Update:
        made = {
            each.name: each.back_up(self.home.backups, update="", release="")
            for each in self.databases
        }
        update = Update(id="20260101T000000-abcdef", from_="b" * 12, to="a" * 12)
        return Rehearsal(
            self.home, self.config, update, self.release, self.databases, made,
            lambda event, text, **_: self.told.append(f"{event}: {text}"),
        ).run()  # fmt: skip

    def open(self, name: str) -> sqlite3.Connection:
        path = self.config.database[name].path(self.home.root)
        return sqlite3.connect(path, isolation_level=None)

    def tables(self, name: str) -> set[str]:
        with closing(self.open(name)) as connection:
            return {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}


def run(migration: Migration, code: Path, **environment: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return migrations.run(
        migration,
        environment={"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        cwd=code,
        timeout_s=60,
    )


@pytest.fixture
def django(tmp_path: Path) -> Django:
    return Django(tmp_path)


def test_each_database_of_django_is_migrated_by_its_alias(django: Django) -> None:
    assert django.detect("main").command == "python manage.py migrate --noinput"
    assert django.detect("search").command == "python manage.py migrate --noinput --database=search"
    django.migrate("search")
    assert "notes_note" in django.tables("search")
    assert django.tables("main") == set()


def test_that_django_has_nothing_to_do_is_found_out_without_a_copy(
    django: Django, monkeypatch: pytest.MonkeyPatch
) -> None:
    django.migrate("main")
    django.migrate("search")

    def no_copy(*_: Any) -> None:
        raise AssertionError("a copy is made")

    monkeypatch.setattr(SqliteDatabase, "copy", no_copy)
    update = django.rehearse()
    assert update.settled == ["main", "search"]
    assert update.heeded == []
    assert django.told == []
    taken = django.databases.take(update)
    assert taken.pending == []
    assert not (django.home.backups / "rehearsal").exists()


def test_a_migration_of_django_is_rehearsed_where_there_is_one(django: Django) -> None:
    django.migrate("main")
    django.migrate("search")
    (django.code / "notes" / "migrations" / "0002_words.py").write_text(SECOND)
    update = django.rehearse()
    assert update.settled == []
    assert update.heeded == ["main", "search"]
    assert [told.split(":")[0] for told in django.told] == [
        "rehearsing", "rehearsing", "migration_rehearsed", "migration_rehearsed"
    ]  # fmt: skip


THIRD = """\
from django.db import migrations, models
def fill(apps, _):
    apps.get_model("tags", "Tag").objects.create()
class Migration(migrations.Migration):
    initial = True
    dependencies = [("notes", "0002_words")]
    operations = [
        migrations.CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))]),
        {more}
    ]
"""


def going_back(django: Django, more: str) -> Update:
    """From a release that has added a column, and an app that depends on it."""
    old, new = "a" * 12, "b" * 12
    django.migrate("main")
    django.migrate("search")
    for each in django.databases:
        each.back_up(django.home.backups, update="", release=old)
    shutil.copytree(django.release, django.home.releases / new, symlinks=True)
    made = Release(id=old, ref="v1", commit=old, environment="e", created_at=datetime.now(UTC))
    (django.release / "release.json").write_bytes(msgspec.json.encode(made))
    code = django.home.releases / new / "app"
    (code / "notes" / "migrations" / "0002_words.py").write_text(SECOND)
    (code / "tags" / "migrations").mkdir(parents=True)
    (code / "tags" / "__init__.py").touch()
    (code / "tags" / "migrations" / "__init__.py").touch()
    (code / "tags" / "migrations" / "0001_initial.py").write_text(THIRD.format(more=more))
    settings = (code / "settings.py").read_text().replace('["notes"]', '["notes", "tags"]')
    (code / "settings.py").write_text(settings)
    django.code = code
    django.migrate("main")
    with closing(django.open("main")) as connection:
        connection.execute("INSERT INTO notes_note (text, words) VALUES ('since', 1)")
    update = Update(id="20260101T000000-abcdef", kind="rollback", from_=new, to=old, ref="v1")
    kept = {
        each.name: each.back_up(django.home.backups, update="u2", release=new)
        for each in django.databases
    }
    decided = GoingBack(
        django.home, django.config, update, made, django.databases,
        remembered.ledger(django.home),
        lambda event, text, **_: django.told.append(f"{event}: {text}"),
    ).decide(kept)  # fmt: skip
    with closing(django.open("main")) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(notes_note)")]
    assert columns == ["id", "text", "words"], "the real database was touched"
    return decided


def test_what_django_has_applied_since_is_taken_back_and_the_data_stays(django: Django) -> None:
    decided = going_back(django, "")
    assert decided.downgrades == {"main": ["notes 0001_initial", "tags zero"]}
    assert decided.heeded == ["main"]
    taken = django.databases.take(decided)
    assert taken.pending == ["main"]
    django.databases.migrate(taken)
    assert django.databases.get("main").applied() == ["notes.0001_initial"]
    assert "tags_tag" not in django.tables("main")
    with closing(django.open("main")) as connection:
        assert connection.execute("SELECT id, text FROM notes_note").fetchall() == [(1, "since")]
    django.databases.give_up(taken)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("migrations.RunPython(fill)", "is not reversible"),
        ("migrations.RunPython(fill, fill)", "the table tags_tag with 1 rows is gone"),
    ],
)
def test_what_django_cannot_take_back_without_a_loss_waits_for_a_person(
    django: Django, more: str, why: str
) -> None:
    with pytest.raises(HeldError) as raised:
        going_back(django, more)
    assert why in str(raised.value)
    assert "--restore-database" in raised.value.next_step


APP = """\
import os
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite://")
db = SQLAlchemy(app)
Migrate(app, db)
"""
SCRIPT = """\
import sqlalchemy as sa
from alembic import op
revision = {revision!r}
down_revision = {before!r}

def upgrade():
    op.create_table("t_{revision}", sa.Column("id", sa.Integer, primary_key=True))

def downgrade():
    op.drop_table("t_{revision}")
"""


def test_flask_migrate_is_run_through_flask_and_back(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "app.py").write_text(APP)
    flask = str(Path(sys.executable).with_name("flask"))
    subprocess.run([flask, "db", "init"], cwd=code, check=True, capture_output=True)
    for revision, before in (("one", None), ("two", "one")):
        script = code / "migrations" / "versions" / f"{revision}.py"
        script.write_text(SCRIPT.format(revision=revision, before=before))
    found = migrations.detect(code, URL)
    assert found is not None
    assert found.command == "flask db upgrade head"
    database = SqliteDatabase("main", tmp_path / "app.db")
    assert migrations.pending(found, database)
    run(found, code, DATABASE_URL=database.url)
    assert migrations.pending(found, database) is False
    back = migrations.downgrade(found, database, ["one"], [])
    assert back.command == "flask db downgrade two@one"
    assert migrations.pending(back, database)
    run(back, code, DATABASE_URL=database.url)
    assert database.revisions() == ["one"]
    assert migrations.pending(back, database) is False


def test_one_alembic_ini_for_several_databases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
    none = Database(url="sqlite:///c.db", migrate="none")
    migrations.check_distinct(tmp_path, {"main": URL, "search": none})
    with pytest.raises(
        ConfigurationError, match="main and search would each be migrated"
    ) as raised:
        migrations.check_distinct(tmp_path, {"main": URL, "search": URL})
    assert "([main], with its `script_location`)" in raised.value.next_step


SECTIONS = """\
[main]
script_location = main
url_in = MAIN_URL
[search]
script_location = %(here)s/search
url_in = SEARCH_URL
"""
ENV = """\
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ[context.config.get_main_option("url_in")]
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_a_section_of_alembic_ini_migrates_the_database_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "alembic.ini").write_text(SECTIONS)
    urls = {}
    for name, revisions in (("main", ["one"]), ("search", ["two", "three"])):
        (tmp_path / name / "versions").mkdir(parents=True)
        (tmp_path / name / "env.py").write_text(ENV)
        for revision in revisions:
            text = SCRIPT.format(revision=revision, before=None)
            (tmp_path / name / "versions" / f"{revision}.py").write_text(text)
        urls[f"{name.upper()}_URL"] = f"sqlite:///{tmp_path}/{name}.db"
    migrations.check_distinct(tmp_path, {"main": URL, "search": URL})
    found = migrations.detect(tmp_path, URL, "search")
    assert found is not None
    assert found.command == "alembic -n search upgrade heads"
    main, search = (SqliteDatabase(name, tmp_path / f"{name}.db") for name in ("main", "search"))
    assert migrations.pending(found, search)
    run(found, tmp_path, **urls)
    assert (search.revisions(), main.revisions()) == (["three", "two"], [])
    assert migrations.pending(found, search) is False
    back = migrations.downgrade(found, search, ["two"], [])
    run(back, tmp_path, **urls)
    assert search.revisions() == ["two"]


def test_a_migration_that_would_only_be_printed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Alembic prints what it would do"):
        parse(TOML.replace('variable = "SEARCH_URL"', 'migrate = "alembic upgrade head --sql"'), {})
