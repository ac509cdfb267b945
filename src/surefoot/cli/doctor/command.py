"""The command: makes the checks one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.doctor import app, data, host
from surefoot.cli.doctor.check import Check, Finding, Level, Subject
from surefoot.cli.doctor.sockets import sockets
from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import console, emit

if TYPE_CHECKING:
    from surefoot.home import Home

CHECKS = (
    Check("configuration", app.configuration),
    Check("supervisor", app.supervisor),
    Check("lock", app.lock),
    Check("release", app.current),
    Check("environment", app.environment, needs_config=True),
    Check("kept paths", app.kept_paths, needs_config=True),
    Check("address", host.addresses, needs_config=True),
    Check("sockets", sockets, needs_config=True),
    Check("page", app.page, needs_config=True),
    Check("database", data.databases, needs_config=True),
    Check("backups", data.backups),
    Check("home", host.writable),
    Check("disk", host.disk),
    Check("clock", host.clock),
    Check("git", host.git),
    Check("uv", host.uv),
    Check("python", host.python, needs_config=True),
    Check("source", host.source, needs_config=True),
)

_MARKS = {Level.OK: "ok", Level.WARNING: "WARNING", Level.PROBLEM: "PROBLEM"}
_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


@click.command()
@with_home
@with_json
def doctor(home: Home, *, as_json: bool) -> int:
    """Look at everything that an update needs.

    Says what to do about what is not as it should be. Changes nothing. Ends with 1 if there is a
    problem; a warning is none.

    \b
    Examples:
      surefoot doctor
      surefoot doctor --json | jq '.[] | select(.level != "ok")'
    """
    subject = _subject(home)
    found: list[tuple[Check, Finding]] = []
    screen = console(err=as_json)
    for check in CHECKS:
        with screen.status(f"Looking at: {check.name} ..."):
            findings = check.findings(subject)
        for finding in findings:
            found.append((check, finding))
            if not as_json:
                _show(check, finding)
    if as_json:
        emit(
            [
                {"check": c.name, "level": f.level, "text": f.text, "to_do": f.to_do}
                for c, f in found
            ]
        )
    problems = sum(finding.level is Level.PROBLEM for _, finding in found)
    if not as_json:
        click.echo(f"{problems or 'No'} problem{'s' * (problems != 1)}.")
    return 1 if problems else 0


def _subject(home: Home) -> Subject:
    from surefoot import config, control
    from surefoot.errors import ConfigurationError

    running = control.is_running(home)
    try:
        return Subject(home, config.load(home.root), "", running)
    except ConfigurationError as error:
        return Subject(home, None, str(error), running)


def _show(check: Check, finding: Finding) -> None:
    from rich.text import Text

    mark = Text(f"{_MARKS[finding.level]:<8}", style=_STYLES[finding.level])
    console().print(mark, f"{check.name}: {finding.text}", soft_wrap=True)
    if finding.to_do:
        console().print(f"         {finding.to_do}", soft_wrap=True)
