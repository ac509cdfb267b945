"""What `surefoot init` finds, and that what it writes can be loaded as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import Answer, Commands
from tests.releases.remote import Remote

from surefoot import config
from surefoot.errors import ExitCode
from surefoot.home import Home

if TYPE_CHECKING:
    from pathlib import Path

FASTAPI = {
    "requirements.txt": "fastapi==0.110\nuvicorn[standard]\n",
    "web/main.py": "from fastapi import FastAPI\n\napp: FastAPI = FastAPI(title='x')\n"
    "@app.get('/api/health')\ndef health(): ...\n",
    "alembic.ini": "[alembic]\nsqlalchemy.url = sqlite:///./data/notes.db\n",
    ".python-version": "3.12\n",
}


def init(folder: Path, *options: str) -> Answer:
    return Commands(Home(folder))("init", *options)


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "notes"
    made.mkdir()
    return made


def test_a_fastapi_app_with_alembic_is_found_whole(folder: Path) -> None:
    write(folder, FASTAPI)

    answer = init(folder, "--git", "https://example.org/me/notes.git")
    loaded = config.load(folder, {})

    assert answer.code == 0
    assert loaded.app.name == "notes"
    assert loaded.app.command == "uvicorn web.main:app --fd 3"
    assert loaded.app.listen == ["127.0.0.1:8000"]
    assert loaded.source.git == "https://example.org/me/notes.git"
    assert loaded.build.dependencies == "requirements.txt"
    assert loaded.database["main"].url == "sqlite:///data/notes.db"
    assert loaded.health.path == "/api/health"
    assert "3.12 (.python-version)" in answer.out
    assert "  - [database] url: it must be the very file that the app uses." in answer.out


@pytest.mark.parametrize(
    ("files", "command", "framework"),
    [
        (
            {"app.py": "import flask\nserver = flask.Flask(__name__)\n"},
            "flask --app app:server run --host 127.0.0.1 --port 8000",
            "flask",
        ),
        (
            {"app.py": "app = Flask(__name__)\n", "requirements.txt": "flask\ngunicorn\n"},
            "gunicorn app:app",
            "flask",
        ),
        (
            {
                "manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n",
                "requirements.txt": "gunicorn==21\n",
            },
            "gunicorn shop.wsgi",
            "django",
        ),
        (
            {"manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"},
            "python manage.py runserver --noreload 127.0.0.1:8000",
            "django",
        ),
        (
            {"main.py": "app = FastAPI()\n", "requirements.txt": "surefoot\n"},
            "python -m surefoot.app.serve main:app --host 127.0.0.1 --port 8000",
            "fastapi",
        ),
        (
            {"pyproject.toml": "[project]\nname='x'\ndependencies=['fastapi>=0.1']\n"},
            "uvicorn main:app --fd 3",
            "fastapi",
        ),
        ({"bot.py": "while True: ...\n"}, "python bot.py", "other"),
        ({"pyproject.toml": "not toml ["}, "python main.py", "other"),
    ],
)
def test_every_kind_of_app_gets_a_command_and_a_file_that_loads(
    folder: Path, files: dict[str, str], command: str, framework: str
) -> None:
    write(folder, files)

    found = init(folder, "--git", "https://example.org/x.git", "--json").json

    assert found["found"]["framework"] == framework
    assert config.load(folder, {}).app.command == command


def test_a_database_beside_the_code_is_kept_across_releases(folder: Path) -> None:
    url = "sqlite+aiosqlite:///instance/app.db"
    write(folder, {"app.py": f"engine = create_async_engine('{url}')\n"})

    init(folder, "--git", "x")
    loaded = config.load(folder, {})

    assert loaded.database["main"].url == url
    assert "instance" in loaded.keep.paths


def test_a_clone_names_its_own_origin_and_branch(tmp_path: Path) -> None:
    remote = Remote(tmp_path / "remote")
    remote.commit(FASTAPI)
    remote.git("clone", "--quiet", str(remote.folder), str(tmp_path / "clone"))

    init(tmp_path / "clone")
    loaded = config.load(tmp_path / "clone", {})

    assert (loaded.source.git, loaded.source.branch) == (str(remote.folder), "main")
    assert loaded.app.name == "remote"


def test_in_an_empty_folder_the_repository_is_looked_through(tmp_path: Path) -> None:
    remote = Remote(tmp_path / "remote")
    remote.commit(FASTAPI)

    answer = init(tmp_path, "--git", str(remote.folder))
    loaded = config.load(tmp_path, {})

    assert answer.code == 0
    assert loaded.app.command == "uvicorn web.main:app --fd 3"
    assert (tmp_path / "source.git").is_dir(), "the first installation need not fetch it again"


def test_a_repository_that_cannot_be_reached_leaves_no_file(folder: Path) -> None:
    answer = init(folder, "--git", str(folder / "none"))

    assert answer.code == ExitCode.FAILED
    assert "No surefoot.toml was written." in answer.err
    assert not (folder / "surefoot.toml").exists()


def test_a_file_that_is_there_is_replaced_only_by_force(folder: Path) -> None:
    write(folder, FASTAPI | {"surefoot.toml": "mine"})

    refused = init(folder, "--git", "x")

    assert refused.code == ExitCode.REFUSED
    assert "Replace it with --force." in refused.err
    assert (folder / "surefoot.toml").read_text() == "mine"
    assert init(folder, "--git", "x", "--force").code == 0
    assert config.load(folder, {}).source.git == "x"


def test_without_a_repository_it_asks_for_one(folder: Path) -> None:
    write(folder, FASTAPI)

    answer = init(folder)

    assert answer.code == ExitCode.USAGE
    assert "--git URL" in answer.err
    assert not (folder / "surefoot.toml").exists()


def test_credentials_in_the_address_are_not_shown(folder: Path) -> None:
    write(folder, FASTAPI)

    answer = init(folder, "--git", "https://me:secret@example.org/x.git")

    assert "secret" not in answer.out + answer.err
