"""Writes a `surefoot.toml` that explains itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from surefoot.cli.discover import DEFAULT_KEPT

if TYPE_CHECKING:
    from surefoot.cli.discover import App

_PORT = 8000

_TEMPLATE = """\
# How Surefoot runs {name} and brings it from one release to the next.
# Every key is explained in Surefoot's docs/reference/configuration.md. Durations are seconds,
# paths are relative to this folder. `.env` beside this file, and the environment, override it.

[app]
name = {name_quoted}
command = {command}
{listen}
stop_grace = 10  # how long it may take to end before it is killed

[source]
git = {git}
{follow}

[build]
{dependencies}
# python = "3.12"  # {python}
# commands = ["npm ci", "npm run build"]  # run in the new release before it is switched to

{database}

[health]
{health}
deadline = 60  # how long a start may take until the first good answer

[keep]
# What belongs to you: it stays in this folder and is never touched by an update.
paths = {paths}
releases = 3
backups = 5

[update]
auto = false  # look for a new release by itself
interval = 3600
"""

_DATABASE = """\
[database]
url = {url}  # as the app itself would be told
migrate = "auto"  # Alembic, where the release has an alembic.ini; or a command, or "none"
{variable}"""

_NO_DATABASE = """\
# [database]
# url = "sqlite:///data/app.db"  # is backed up before, and put back after, an update that fails
# migrate = "auto"  # Alembic, where the release has an alembic.ini; or a command, or "none"
# variable = "DATABASE_URL"  # the environment variable by which the app is told"""


def render(found: App, *, name: str, git: str, branch: str) -> str:
    """The text of the file. It can be loaded as it is, if `git` is not empty."""
    command, is_held = _command(found), _is_held(found)
    address = f"127.0.0.1:{_PORT}"
    listen = f'listen = ["{address}"]'
    return _TEMPLATE.format(
        name=name,
        name_quoted=_quoted(name),
        command=_quoted(command),
        listen=f"{listen}  # held open while the app is exchanged: no connection is refused"
        if is_held
        else f"# {listen}  # held open while the app is exchanged, if it takes LISTEN_FDS",
        git=_quoted(git),
        follow=f'branch = {_quoted(branch)}  # or: tags = "v*"'
        if branch
        else '# branch = "main"  # or: tags = "v*"; else the default branch is followed',
        dependencies=f"dependencies = {_quoted(found.dependencies)}"
        if found.dependencies
        else '# dependencies = "requirements.txt"',
        python=f"found: {_comment(found.python)}"
        if found.python
        else "else what the release asks for",
        database=_database(found),
        health=_health(found, command, address),
        paths=json.dumps([*DEFAULT_KEPT, *found.kept]),
    )


def _command(found: App) -> str:
    """What starts the app."""
    target, port = found.target, _PORT
    match found.framework, found.server:
        case "fastapi", "surefoot":
            return f"python -m surefoot.app.serve {target} --host 127.0.0.1 --port {port}"
        case "fastapi", _:
            return f"uvicorn {target} --fd 3"  # the first socket that is held
        case "flask", "gunicorn":
            return f"gunicorn {target}"
        case "flask", _:
            return f"flask --app {target} run --host 127.0.0.1 --port {port}"
        case "django", "gunicorn":
            return f"gunicorn {target}.wsgi"
        case "django", _:
            return f"python manage.py runserver --noreload 127.0.0.1:{port}"
        case _:
            return f"python {target or 'main.py'}"


def _is_held(found: App) -> bool:
    """Whether that takes the listening socket that Surefoot holds."""
    return found.framework == "fastapi" or found.server == "gunicorn"


def _database(found: App) -> str:
    if not found.database:
        return _NO_DATABASE
    variable = f"variable = {_quoted(found.variable)}" if found.variable else ""
    return _DATABASE.format(
        url=_quoted(f"{found.scheme}{found.database}"),
        variable=f"{variable}  # the app is told the URL by it"
        if variable
        else '# variable = "DATABASE_URL"  # the environment variable by which the app is told',
    )


def _health(found: App, command: str, address: str) -> str:
    whole = f"http://{address}{found.health or '/health'}"
    if found.health and ("--port" in command or _is_held(found)):
        return f"path = {_quoted(found.health)}  # good answers in a row make a release healthy"
    if not found.health or found.framework == "other":
        return f"# http = {_quoted(whole)}  # what is asked; without it, staying up counts"
    return f"http = {_quoted(whole)}  # good answers in a row make a release healthy"


def _quoted(text: str) -> str:
    return json.dumps(text)  # TOML's basic strings are JSON's


def _comment(text: str) -> str:
    return " ".join(text.split())
