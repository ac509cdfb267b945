"""`surefoot serve`: the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home

if TYPE_CHECKING:
    from surefoot.home import Home


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Where, instead of `listen` in [dashboard].")
@click.option("--read-only", is_flag=True, help="Show everything, change nothing.")
@with_home
def serve(home: Home, listen: str | None, *, read_only: bool) -> None:
    """Serve the dashboard.

    A web page, and an API, that show what runs and what is available, and ask for updates,
    rollbacks and restores. It needs nothing of the app's, and goes on showing while the app is
    down. Stays in the foreground until SIGTERM or Ctrl-C. Whoever comes needs a token, which is
    made at the first start.

    \b
    Examples:
      surefoot serve
      surefoot serve --home /srv/notes --listen 127.0.0.1:9000 --read-only
    """
    from msgspec.structs import replace

    from surefoot import config
    from surefoot.config.checking import is_tcp_address
    from surefoot.errors import SurefootError

    settings = config.load(home.root).dashboard
    if listen is not None:
        if not is_tcp_address(listen):
            raise click.BadParameter(f"`{listen}` is not host:port.", param_hint="--listen")
        settings = replace(settings, listen=listen)
    if read_only:
        settings = replace(settings, read_only=True)
    try:
        from surefoot.dashboard import access, serving
    except ImportError as error:
        raise SurefootError(
            f"The dashboard needs {error.name}, which is not installed here.",
            next_step="Install it: pip install 'surefoot[engine,dashboard]'.",
        ) from None

    def ready(address: str) -> None:
        click.echo(f"The dashboard is at {settings.origin or address}/")
        if settings.token is None:
            click.echo(f"The token to log in with is in {access.token_file(home.dashboard)}")

    serving.serve(home, settings, ready)
