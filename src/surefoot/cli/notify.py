"""`surefoot notify-test`: whether a message gets through."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home

if TYPE_CHECKING:
    from surefoot.home import Home


@click.command("notify-test")
@with_home
def notify_test(home: Home) -> None:
    """Send a test message to every address in SUREFOOT_NOTIFY_URLS.

    Ends with 1 if one of them does not take it. Needs surefoot[notify].

    \b
    Example:
      surefoot notify-test
    """
    from surefoot import config
    from surefoot.errors import ConfigurationError
    from surefoot.observe import messages, notifications

    loaded = config.load(home.root)
    addresses = notifications.urls(home)
    if not addresses:
        raise ConfigurationError(
            "There is nobody to tell: SUREFOOT_NOTIFY_URLS is not set.",
            next_step="Put it into the environment of `surefoot run`, or into .env.",
        )
    notifications.check(loaded)
    text = messages.TEXTS[loaded.notify.language]["words"]["test"]
    title = f"{loaded.app.name} @ {socket.gethostname()}"
    notifications.Notifications(loaded, addresses).tell(messages.Message(title, text))
    click.echo(f"Sent to {len(addresses)} {'address' if len(addresses) == 1 else 'addresses'}.")
