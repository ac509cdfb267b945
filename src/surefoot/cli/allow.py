"""`surefoot allow`: give a denied release another chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import user_name, with_home

if TYPE_CHECKING:
    from surefoot.home import Home


@click.command()
@click.argument("release")
@with_home
def allow(home: Home, release: str) -> None:
    """Take RELEASE off the denylist.

    A release that was rolled back is not tried again by itself. After this it is, if it is still
    the newest. RELEASE is one of those that `surefoot status` calls denied.

    \b
    Example:
      surefoot allow 4f2c9a7b01de
    """
    from surefoot.update import denylist

    denylist.allow(home, release, by=user_name())
    click.echo(f"Release {release} may come by itself again.")
