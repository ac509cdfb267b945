"""`surefoot status`: how things stand, in one look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import ago, emit, moment, span

if TYPE_CHECKING:
    from surefoot.home import Home


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
    report = _report(home)
    if as_json:
        emit(report)
    else:
        for name, value in _lines(report):
            click.echo(f"{name + ':':<12} {value}")


def _report(home: Home) -> dict[str, Any]:
    from surefoot import control
    from surefoot.databases import backups
    from surefoot.releases.store import Store
    from surefoot.update import requests
    from surefoot.update.remembered import seen_ledger

    store = Store(home)
    ledger, damage = seen_ledger(home)
    problems = [damage] if damage else []
    waiting = requests.waiting(home)
    newest = next((b for b in backups.all(home.backups) if b.is_good and b.facts), None)
    return {
        "home": str(home.root),
        "running": control.is_running(home),
        **_app(home),
        "release": _release(home, store, ledger, problems),
        **_in_flight(home),
        "request": {"id": waiting.id, "kind": waiting.kind, "ref": waiting.ref}
        if waiting
        else None,
        "last": _last(home, problems),
        "backup": {"name": newest.name, "made_at": newest.facts.made_at}
        if newest and newest.facts
        else None,
        "releases": len(store.all()),
        "denied": [
            {"release": release, "reason": denied.reason}
            for release, denied in ledger.denied.items()
        ],
        "problems": problems,
    }


def _app(home: Home) -> dict[str, Any]:
    from surefoot import config
    from surefoot.errors import ConfigurationError

    try:
        loaded = config.load(home.root)
    except ConfigurationError as error:
        return {"app": None, "address": None, "configuration": str(error)}
    return {"app": loaded.app.name, "address": loaded.address(), "configuration": None}


def _release(home: Home, store: Any, ledger: Any, problems: list[str]) -> dict[str, Any] | None:
    from surefoot.errors import DamagedError

    current = store.current_id()
    if current is None:
        if os.path.lexists(home.current):
            problems.append(f"{home.current} does not lead to a release.")
        return None
    release = None
    try:
        release = store.get(current)
    except DamagedError as error:
        problems.append(str(error))
    since = next((c.at for c in reversed(ledger.commits) if c.release == current), None)
    return {
        "id": current,
        "ref": release.ref if release else None,
        "commit": release.commit if release else None,
        "since": since,
    }


def _in_flight(home: Home) -> dict[str, Any]:
    from surefoot.errors import DamagedError
    from surefoot.update.lock import Lock

    try:
        update = Lock(home).read()
    except DamagedError as error:
        return {"update": None, "lock": str(error)}
    if update is None:
        return {"update": None, "lock": None}
    known = {
        "id": update.id,
        "kind": update.kind,
        "origin": update.origin,
        "state": update.state,
        "since": update.since,
        "requested_at": update.requested_at,
        "from": update.from_,
        "to": update.to,
        "ref": update.ref,
        "attempts": update.attempts,
        "reason": update.reason,
    }
    return {"update": known, "lock": None}


def _last(home: Home, problems: list[str]) -> dict[str, Any] | None:
    """How the last update ended; what was only looked for is no update."""
    from surefoot.errors import SurefootError
    from surefoot.update.history import FINAL, History

    ended = FINAL - {"up_to_date", "refused"}
    try:
        last = next((event for event in History(home).newest() if event.event in ended), None)
    except SurefootError as error:
        problems.append(str(error))
        return None
    if last is None:
        return None
    facts = last.facts
    return {
        "update": last.update,
        "outcome": last.event,
        "at": last.at,
        "text": last.text,
        **{key: facts.get(key) for key in ("kind", "origin", "from", "to", "ref", "reason")},
        "durations": _durations(facts.get("durations")),
    }


def _durations(value: Any) -> dict[str, float]:
    """Seconds by step, of an event that may be older, or damaged."""
    found = value if isinstance(value, dict) else {}
    return {str(k): v for k, v in found.items() if isinstance(v, float) and abs(v) < 1e9}


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("Home", report["home"])]
    if report["configuration"]:
        lines.append(("Problem", report["configuration"]))
    else:
        where = f" at {report['address']}" if report["address"] else ""
        lines.append(("App", f"{report['app']}{where}"))
    said = "runs" if report["running"] else "does not run (start it with `surefoot run`)"
    lines.append(("Supervisor", said))
    release = report["release"]
    if release is None:
        lines.append(("Release", "none is installed yet"))
    else:
        since = f", since {moment(release['since'])}" if release["since"] else ""
        lines.append(("Release", f"{release['ref'] or '?'} ({release['id']}){since}"))
    lines += [("Problem", problem) for problem in report["problems"]]
    lines += _update_lines(report)
    backup = report["backup"]
    said = f"{backup['name']}, {ago(backup['made_at'])}" if backup else "none"
    lines.append(("Backup", said))
    lines.append(("On disk", f"{report['releases']} release{'s' * (report['releases'] != 1)}"))
    lines += [("Denied", f"{d['release']}: {d['reason']}") for d in report["denied"]]
    return lines


def _update_lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    update, last = report["update"], report["last"]
    if report["lock"]:
        lines.append(("Update", report["lock"]))
    elif update is None:
        request = report["request"]
        asked = f"{request['kind']} {request['id']} waits to be taken up" if request else ""
        lines.append(("Update", asked or "none is in flight"))
    else:
        tries = sum(update["attempts"].values())
        lines.append(
            (
                "Update",
                f"{update['kind']} {update['id']}, {update['from'] or 'nothing'} to "
                f"{update['ref'] or ''} ({update['to']}): {update['state']} since "
                f"{moment(update['since'])}, {tries} steps begun",
            )
        )
        if update["reason"]:
            lines.append(("Because", update["reason"]))
        if update["state"] == "broken":
            lines.append(("To do", "mend the cause, then `surefoot rollback --wait`"))
    if last:
        took = ", ".join(f"{step} {span(s)}" for step, s in last["durations"].items())
        lines.append(("Last", f"{last['kind'] or 'update'}, {ago(last['at'])}. {last['text']}"))
        if took:
            lines.append(("It took", took))
    return lines
