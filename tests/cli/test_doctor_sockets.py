"""What the doctor says of the sockets that are held for the app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surefoot import config
from surefoot.cli.doctor.check import Subject
from surefoot.cli.doctor.sockets import sockets
from surefoot.home import Home

if TYPE_CHECKING:
    from surefoot.cli.doctor.check import Finding


def found_with(command: str, *listen: str) -> Finding:
    """What is found where the app is started by this command."""
    text = f"app = {{command = '{command}', listen = {list(listen)}}}\n[source]\ngit = 'x'"
    subject = Subject(Home(Path("/srv/app")), config.parse(text), "", running=False)
    [found] = sockets(subject)
    return found


@pytest.mark.parametrize(
    "command",
    [
        "gunicorn -c python:surefoot.app.gunicorn shop.wsgi",
        "python -m surefoot.app.serve main:app --port 8000",
        "env/bin/uvicorn main:app --fd 3",
        "hypercorn main:app --bind fd://3",
        "daphne --fd=3 main:app",
    ],
)
def test_a_server_that_takes_what_is_held(command: str) -> None:
    found = found_with(command, "127.0.0.1:8000")
    assert (found.level, found.to_do) == ("ok", "")
    assert "nobody is refused" in found.text


BINDERS = {
    "uvicorn main:app --port 8000": "--fd 3",
    "python -m uvicorn main:app": "surefoot.app.serve",
    "hypercorn main:app --bind 127.0.0.1:8000": "fd://3",
    "daphne main:app -p 8000": "--fd 3",
    "waitress-serve --port=8000 main:app": "docs/guide/servers.md",
    "fastapi run main.py": "surefoot.app.serve",
    "flask --app main run": "surefoot.app.gunicorn",
    "python manage.py runserver": "surefoot.app.gunicorn",
}


@pytest.mark.parametrize(("command", "advice"), BINDERS.items())
def test_a_server_that_binds_for_itself(command: str, advice: str) -> None:
    found = found_with(command)
    assert found.level == "warning"
    assert "is refused" in found.text
    assert advice in found.to_do


def test_a_server_that_does_not_take_what_is_held_for_it() -> None:
    found = found_with("uvicorn main:app --port 8000", "127.0.0.1:8000")
    assert found.level == "problem"
    assert "127.0.0.1:8000 is held for it" in found.text


def test_a_server_for_which_nothing_is_held() -> None:
    found = found_with("gunicorn shop.wsgi")
    assert found.level == "warning"
    assert "listen = " in found.to_do


def test_a_command_that_is_not_known_is_not_judged() -> None:
    assert "cannot be seen" in found_with("python serve_gunicorn.py", "127.0.0.1:8000").text
