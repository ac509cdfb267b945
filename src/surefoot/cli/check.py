"""`surefoot check`: what an update would bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import busy, emit, moment

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.releases.git import Candidate, Change
    from surefoot.releases.store import Release


@click.command()
@click.option("--to", "ref", metavar="REF", help="A tag, branch or commit; else the newest.")
@with_home
@with_json
def check(home: Home, ref: str | None, *, as_json: bool) -> None:
    """Show what an update would bring.

    Asks the source what is newest, and lists the commits. Fetches what is new, and changes nothing
    else. Ends with 0 whether or not there is something.

    \b
    Examples:
      surefoot check
      surefoot check --json | jq .available
    """
    from surefoot import config
    from surefoot.releases.git import GitSource
    from surefoot.releases.store import Store, release_id
    from surefoot.update.remembered import seen_ledger

    source = GitSource(home.mirror, config.load(home.root).source)
    store, (ledger, _) = Store(home), seen_ledger(home)
    name = store.current_id()
    current = store.get(name) if name else None
    with busy(f"Asking {source.shown_address}"):
        found, changes = _asked(source, ref, current)
    denied = ledger.denied.get(release_id(found.commit))
    available = current is None or found.commit != current.commit
    if as_json:
        emit(_report(current, found, changes, available=available, denied=denied))
    else:
        _tell(current, found, changes, available=available, denied=denied)


def _asked(source: Any, ref: str | None, current: Release | None) -> tuple[Candidate, list[Change]]:
    from surefoot.errors import SourceError, SurefootError

    try:
        found = source.resolve(ref)
        if current is not None and current.commit == found.commit:
            return found, []
        source.fetch(found, lambda _line: None)
    except SourceError as error:  # here it is no update that was abandoned
        raise SurefootError(error.message, next_step=error.next_step) from None
    return found, source.changes(current.commit if current else None, found.commit)


def _report(
    current: Release | None,
    found: Candidate,
    changes: list[Change],
    *,
    available: bool,
    denied: Any,
) -> dict[str, Any]:
    return {
        "available": available,
        "current": {"release": current.id, "ref": current.ref, "commit": current.commit}
        if current
        else None,
        "newest": {
            "release": found.commit[:12],
            "ref": found.ref,
            "commit": found.commit,
            "version": found.version,
        },
        "denied": denied.reason if denied else None,
        "changes": changes,
    }


def _tell(
    current: Release | None,
    found: Candidate,
    changes: list[Change],
    *,
    available: bool,
    denied: Any,
) -> None:
    if not available:
        click.echo(f"Up to date: {found.ref} ({found.commit[:12]}) is in use.")
        return
    here = f"{current.ref} ({current.id}) is in use" if current else "nothing is installed yet"
    click.echo(f"Available: {found.ref} ({found.commit[:12]}); {here}.")
    for change in changes:
        click.echo(f"  {change.commit[:10]}  {moment(change.at)[:10]}  {change.subject}")
    if denied:
        click.echo(
            f"It was rolled back before and is not tried again by itself: {denied.reason} "
            f"To try it all the same: `surefoot update --to {found.ref}`."
        )
    else:
        click.echo("Bring it in with `surefoot update --wait`.")
