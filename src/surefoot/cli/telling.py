"""Has those told of events who are configured to be: nothing runs where nobody is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home

if TYPE_CHECKING:
    from surefoot.config import Config
    from surefoot.home import Home


def start_telling(home: Home, config: Config, *, with_engine: bool) -> None:
    """Never raises for what is wrong there: it is said, and the update goes on."""
    from surefoot import observe
    from surefoot.errors import SurefootError

    try:
        if not observe.adapters(home, config):
            return
        from surefoot.observe import delivery

        delivery.start(home, with_engine=with_engine)
    except (SurefootError, OSError) as error:
        sys.stderr.write(f"surefoot: Nobody is told of events: {error}\n")


@click.command(hidden=True)
@with_home
def deliver(home: Home) -> None:
    """Tell of events those who are configured to be told. Started by the engine; not for people.

    \b
    Example:
      surefoot deliver
    """
    from surefoot import config, observe
    from surefoot.observe import delivery

    delivery.deliver(home, observe.adapters(home, config.load(home.root)))
