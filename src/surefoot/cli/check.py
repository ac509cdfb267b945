"""`surefoot check`: what an update would bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import busy, emit, moment

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.reports import Available


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
    from surefoot.cli.automatic import sentence
    from surefoot.reports import Source, automatic

    source = Source.of(home)
    with busy(f"Asking {source.git.shown_address}"):
        found = source.available(ref)
    if as_json:
        emit(found)
        return
    _tell(found)
    by_itself = automatic(home)
    if found.available and not found.denied and by_itself and by_itself.enabled:
        click.echo(f"By itself: {sentence(by_itself)}.")


def _tell(found: Available) -> None:
    current, newest = found.current, found.newest
    name = f"{newest.ref} ({newest.release})"
    if not found.available:
        click.echo(f"Up to date: {name} is in use.")
        return
    here = f"{current.ref} ({current.release}) is in use" if current else "nothing is installed yet"
    click.echo(f"Available: {name}; {here}.")
    for change in found.changes:
        click.echo(f"  {change.commit[:10]}  {moment(change.at)[:10]}  {change.subject}")
    if found.denied:
        click.echo(
            f"It was rolled back before and is not tried again by itself: {found.denied} "
            f"To try it all the same: `surefoot update --to {newest.ref}`."
        )
    else:
        click.echo("Bring it in with `surefoot update --wait`.")
