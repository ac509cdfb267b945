"""`surefoot engine`: what the supervisor starts. Not for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home

if TYPE_CHECKING:
    from surefoot.home import Home
    from surefoot.update.engine import Engine


@click.group(hidden=True)
def engine() -> None:
    """What the supervisor starts. Use `surefoot update` and `surefoot rollback` instead.

    \b
    Example:
      surefoot engine resume
    """


@engine.command()
@click.option("--auto", is_flag=True, help="By the timer: nobody has asked.")
@with_home
def update(home: Home, *, auto: bool) -> int:
    """Take up the request that waits.

    Without one, look for the newest release.

    \b
    Example:
      surefoot engine update --auto
    """
    from surefoot.errors import ConfigurationError
    from surefoot.update.answering import answer_unconfigured

    try:
        started = _engine(home)
    except ConfigurationError as error:
        answer_unconfigured(home, error)
        raise
    return started.update(auto=auto)


@engine.command()
@with_home
def resume(home: Home) -> int:
    """Carry on, or put back, what was interrupted.

    \b
    Example:
      surefoot engine resume
    """
    return _engine(home).resume()


@engine.command()
@with_home
def crashed(home: Home) -> int:
    """Go back, after repeated crashes.

    Only if the release was committed a short time ago, and the schema allows it.

    \b
    Example:
      surefoot engine crashed
    """
    return _engine(home).crashed()


def _engine(home: Home) -> Engine:
    from surefoot import config
    from surefoot.cli.telling import start_telling
    from surefoot.control import Processes
    from surefoot.update.engine import Engine

    loaded = config.load(home.root)
    start_telling(home, loaded, with_engine=True)
    return Engine(home, loaded, Processes())
