"""How the app's processes are started.

Each release has a script for each process. It sets the environment, goes to the code and becomes
the process, so the supervisor needs neither Python nor a parser.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.errors import ConfigurationError, StageError
from surefoot.releases.uv_settings import build_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from surefoot.config import Config
    from surefoot.home import Home

FOLDER = "processes"
NOTIFY_SOCKET = "notify"
"""In the home's `run`: where the processes say READY=1."""

_TEMPLATE = """\
#!/bin/sh
# How `{name}` of release {release} is started; written by Surefoot, as surefoot.toml said then.
unset PYTHONHOME NOTIFY_SOCKET
{exports}
PATH={bin}:$PATH
SUREFOOT_PID=$$
export PATH SUREFOOT_PID
if [ -n "${{LISTEN_FDS:-}}" ]; then
	LISTEN_PID=$$
	export LISTEN_PID
fi
cd {code} || exit 126
exec {command}
"""


def write_processes(folder: Path, home: Home, config: Config) -> None:
    """Writes `processes/<name>` into a release's folder, one for each process of the app.

    Raises ConfigurationError for a command that cannot be started by `exec`.
    """
    scripts = folder / FOLDER
    durable.remove_tree(scripts)
    scripts.mkdir()
    for name, command in config.app.commands().items():
        started = executable_command(name, command)
        variables = _own_variables(folder, home, config) | {"SUREFOOT_PROCESS": name}
        if config.health.notify:
            variables["NOTIFY_SOCKET"] = str(home.run / NOTIFY_SOCKET)
        text = _TEMPLATE.format(
            name=name,
            release=folder.name,
            exports="\n".join(f"export {k}={shlex.quote(v)}" for k, v in variables.items()),
            bin=shlex.quote(str(folder / "venv" / "bin")),
            code=shlex.quote(str(working_folder(folder, config))),
            command=started,
        )
        # What it exports may be a secret.
        durable.write(scripts / name, text.encode(), mode=0o700)


def command_environment(
    folder: Path, home: Home, config: Config, *, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment that the app's processes have, for its build commands and migrations."""
    variables = dict(build_environment() if base is None else base)
    variables.pop("PYTHONHOME", None)
    variables |= _own_variables(folder, home, config)
    path = variables.get("PATH", os.defpath)
    return variables | {"PATH": f"{folder / 'venv' / 'bin'}{os.pathsep}{path}"}


def working_folder(folder: Path, config: Config) -> Path:
    """Where the app's commands are run. Raises StageError where the release has no such folder."""
    code = folder / "app"
    place = code / config.app.directory
    if not place.is_dir() or not place.resolve().is_relative_to(code.resolve()):
        raise StageError(
            f"The release has no folder {config.app.directory!r}, which [app] names as `directory`."
        )
    return place


def executable_command(name: str, command: str) -> str:
    """The command as it stands after `exec`. Raises ConfigurationError for more than one."""
    text = re.sub(r"^exec(\s+|$)", "", command.strip())
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(
            f"The command of the process `{name}` cannot be understood: {error}.",
            next_step="Check its quotation marks.",
        ) from None
    if not words:
        raise ConfigurationError(f"The command of the process `{name}` is empty.")
    if found := _separator(text):
        raise ConfigurationError(
            f"The command of the process `{name}` has `{found}` in it: it must be one command, "
            "which becomes the process.",
            next_step="Put the parentheses in quotation marks."
            if found in "()"
            else f"Wrap it: {shlex.join(['sh', '-c', text])}",
        )
    return f"env {text}" if re.match(r"[A-Za-z_]\w*=", text) else text


def _own_variables(folder: Path, home: Home, config: Config) -> dict[str, str]:
    databases = {
        database.variable: database.url_in(home.root)
        for database in config.database.values()
        if database.variable
    }
    own = {
        "SUREFOOT_HOME": str(home.root),
        "SUREFOOT_RELEASE": folder.name,
        "VIRTUAL_ENV": str(folder / "venv"),
    }
    variables = config.app.environment | databases | own
    for name in variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ConfigurationError(f"`{name}` cannot name an environment variable.")
    return variables


def _separator(text: str) -> str | None:
    """What in a command of the shell's would make two of it, outside of quotes and `$(...)`."""
    depth, quote, position = 0, "", 0
    while position < len(text):
        character = text[position]
        if character == "\\" and quote != "'":
            position += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"`":
            quote = character
        elif text.startswith("$(", position) or (depth and character == "("):
            depth += 1
            position += character == "$"
        elif depth:
            depth -= character == ")"
        elif character in ";|()\n":
            return "\\n" if character == "\n" else character
        elif character == "&" and text[position - 1 : position] not in {"<", ">"}:
            return character
        position += 1
    return None
