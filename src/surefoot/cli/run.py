"""`surefoot run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home

if TYPE_CHECKING:
    from surefoot.home import Home


@click.command()
@with_home
def run(home: Home) -> None:
    """Keep the app running.

    It is installed first if it is not there yet. Stays in the foreground: start it from a service
    manager or as a container's main process. It ends, with the app, on SIGTERM or Ctrl-C. What an
    earlier run has left half done is finished or put back first.

    \b
    Examples:
      surefoot run
      surefoot run --home /srv/notes
    """
    from surefoot import config, launch
    from surefoot.cli.telling import start_telling

    loaded = config.load(home.root)
    start_telling(home, loaded, with_engine=False)  # of what could not be told before
    launch.launch(home, loaded)
