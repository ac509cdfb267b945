"""The root of the command line: finds the command, and turns every error into one line.

A command's module is imported when the command is run: the engine starts inside an update.
"""

from __future__ import annotations

import difflib
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from surefoot import __version__
from surefoot.errors import ExitCode, SurefootError

INTERRUPTED = 130
"""128 + SIGINT, as a shell says it."""

_COMMANDS = {
    "init": "surefoot.cli.init:init",
    "run": "surefoot.cli.run:run",
    "status": "surefoot.cli.status:status",
    "check": "surefoot.cli.check:check",
    "update": "surefoot.cli.ask:update",
    "rollback": "surefoot.cli.ask:rollback",
    "restore": "surefoot.cli.ask:restore",
    "allow": "surefoot.cli.allow:allow",
    "hold": "surefoot.cli.hold:hold",
    "releases": "surefoot.cli.lists:releases",
    "backups": "surefoot.cli.lists:backups",
    "history": "surefoot.cli.history:history",
    "serve": "surefoot.cli.serve:serve",
    "metrics": "surefoot.cli.metrics:metrics",
    "notify-test": "surefoot.cli.notify:notify_test",
    "doctor": "surefoot.cli.doctor.command:doctor",
    "demo": "surefoot.cli.demo:demo",
    "engine": "surefoot.cli.engine:engine",
    "deliver": "surefoot.cli.telling:deliver",
}

MEANINGS = {
    ExitCode.OK: "done, or nothing was to be done",
    ExitCode.FAILED: "failed, for the reason that is printed",
    ExitCode.USAGE: "the command line was not understood",
    ExitCode.CONFIGURATION: "surefoot.toml, .env or the environment is wrong",
    ExitCode.REFUSED: "turned down; nothing was changed",
    ExitCode.NOT_RUNNING: "there is no supervisor to talk to",
    ExitCode.ABANDONED: "the update was given up before the app was touched",
    ExitCode.ROLLED_BACK: "the update was rolled back; the old release serves",
    ExitCode.BROKEN: "neither release could be made to serve: a person is needed",
    ExitCode.TIMED_OUT: "--timeout has passed; the update goes on",
    ExitCode.UPDATE_REQUESTED: "only from the app: it asks for the update",
    INTERRUPTED: "interrupted with Ctrl-C",
}
"""What each exit code says. They are part of the public interface."""

_EPILOG = (
    "\b\nExit codes:\n"
    + "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())
    + "\n\n\b\nFirst steps:\n"
    "  surefoot demo                     watch it work on a sample app\n"
    "  surefoot init --git URL           write surefoot.toml\n"
    "  surefoot run                      install the app and keep it running\n"
    "  surefoot update --wait            bring it to the newest release"
)


class _Root(click.Group):
    """Imports commands when they are needed, and speaks in one voice when something is wrong."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)  # noqa: S101 - a slip in the table above
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, 1)
            hint = f" Did you mean `{near[0]}`?" if near else ""
            ctx.fail(f"There is no command `{args[0]}`.{hint}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Runs a command; ends the process with its exit code."""
        extra["standalone_mode"] = False
        try:
            answer = super().main(*args, **extra)
            sys.stdout.flush()
        except Exception as error:
            code = _told(error)
        else:
            code = answer if isinstance(answer, int) else 0
        sys.exit(code)


def _told(error: Exception) -> int:
    """Says what went wrong, in one line on stderr; returns the exit code."""
    debug = os.environ.get("SUREFOOT_DEBUG") == "1"
    match error:
        case SurefootError():
            _say(str(error))
            code = int(error.exit_code)
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "surefoot"
            _say(f"{error.format_message()} See `{path} --help`.")
            code = ExitCode.USAGE
        case click.ClickException():
            _say(error.format_message())
            code = error.exit_code
        case click.Abort():
            _say("Interrupted.")
            code = INTERRUPTED
        case BrokenPipeError():  # `surefoot history | head`: the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.FAILED
        case OSError():
            _say(f"{error}.")
            code = ExitCode.FAILED
        case _:
            name, text = type(error).__name__, str(error)
            hint = "" if debug else " SUREFOOT_DEBUG=1 shows where."
            _say(f"{name}: {text}. This is a bug in Surefoot; please report it.{hint}")
            code = ExitCode.FAILED
    if debug:
        import traceback

        traceback.print_exception(error)
    return code


def _say(sentence: str) -> None:
    click.echo(f"surefoot: {' '.join(sentence.split())}", err=True)


@click.group(
    cls=_Root,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="surefoot %(version)s")
def surefoot() -> None:
    """Keep a self-hosted Python app running, and move it from one release to the next.

    Code, dependencies and database move together or not at all.

    Every command works on one home: the folder that holds surefoot.toml. It is named by --home,
    else by SUREFOOT_HOME, else it is the nearest folder upwards from here that has one.
    """
