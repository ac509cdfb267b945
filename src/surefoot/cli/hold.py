"""`surefoot hold`: no update by itself, for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import user_name, with_home

if TYPE_CHECKING:
    from surefoot.home import Home


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="Why, for whoever comes next.")
@click.option("--release", is_flag=True, help="Let updates start by themselves again.")
@with_home
def hold(home: Home, reason: str, *, release: bool) -> None:
    """Keep updates from starting by themselves.

    Until it is released, the schedule starts no update, whether the supervisor or the app asks for
    it by the timer. What a person asks for is done all the same; an update in flight goes on.

    \b
    Examples:
      surefoot hold --reason "The auditors are here until Friday"
      surefoot hold --release
    """
    from surefoot.update import hold as holding

    who = user_name()
    if not release:
        holding.place(home, by=who, reason=reason)
        click.echo("Held: no update starts by itself until `surefoot hold --release`.")
    elif holding.release(home, by=who):
        click.echo("Released: updates start by themselves where they are set to.")
    else:
        click.echo("Nothing was held.")
