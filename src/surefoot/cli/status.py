"""`surefoot status`: how things stand, in one look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import ago, emit, moment, span

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.reports import Status


@click.command()
@with_home
@with_json
def status(home: Home, *, as_json: bool) -> None:
    """Show how things stand.

    What runs, which release, what is in flight, and how the last update ended. Reads only. Ends
    with 0 whenever it could look; `surefoot doctor` judges.

    \b
    Examples:
      surefoot status
      surefoot status --json | jq -r .release.ref
    """
    from surefoot import reports

    report = reports.status(home)
    if as_json:
        emit(report)
    else:
        for name, value in _lines(report):
            click.echo(f"{name + ':':<12} {value}")


def _lines(report: Status) -> list[tuple[str, str]]:
    from surefoot.cli.automatic import sentence

    lines = [("Home", report.home)]
    if report.configuration:
        lines.append(("Problem", report.configuration))
    else:
        where = f" at {report.address}" if report.address else ""
        lines.append(("App", f"{report.app}{where}"))
    said = "runs" if report.running else "does not run (start it with `surefoot run`)"
    lines.append(("Supervisor", said))
    release = report.release
    if release is None:
        lines.append(("Release", "none is installed yet"))
    else:
        since = f", since {moment(release.since)}" if release.since else ""
        lines.append(("Release", f"{release.ref or '?'} ({release.id}){since}"))
    lines += [("Problem", problem) for problem in report.problems]
    if hold := report.hold:
        why = f": {hold.reason}" if hold.reason else ""
        lines.append(("Held", f"by {hold.by or '?'}, since {moment(hold.at)}{why}"))
    lines += _update_lines(report)
    if report.automatic:
        lines.append(("By itself", sentence(report.automatic)))
    backup = report.backup
    said = f"{backup.name}, {ago(backup.made_at)}" if backup else "none"
    lines.append(("Backup", said))
    lines.append(("On disk", f"{report.releases} release{'s' * (report.releases != 1)}"))
    lines += [("Denied", f"{d.release}: {d.reason}") for d in report.denied]
    return lines


def _update_lines(report: Status) -> list[tuple[str, str]]:
    lines = []
    update, last = report.update, report.last
    if report.lock:
        lines.append(("Update", report.lock))
    elif update is None:
        request = report.request
        asked = f"{request.kind} {request.id} waits to be taken up" if request else ""
        lines.append(("Update", asked or "none is in flight"))
    else:
        tries = sum(update.attempts.values())
        lines.append(
            (
                "Update",
                f"{update.kind} {update.id}, {update.from_ or 'nothing'} to "
                f"{update.ref or ''} ({update.to}): {update.state} since "
                f"{moment(update.since)}, {tries} steps begun",
            )
        )
        if update.reason:
            lines.append(("Because", update.reason))
        if update.state == "broken":
            lines.append(("To do", "mend the cause, then `surefoot rollback --wait`"))
    if last:
        took = ", ".join(f"{step} {span(s)}" for step, s in last.durations.items())
        lines.append(("Last", f"{last.kind or 'update'}, {ago(last.at)}. {last.text}"))
        if took:
            lines.append(("It took", took))
        lines += [("Snapshot", f"{name}: {way}") for name, way in last.snapshots.items()]
    return lines
