"""Notifications through Apprise: Telegram, mail, and whatever else it knows.

The addresses hold secrets: they come from the environment, or from `.env`, and go nowhere else.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from surefoot.config import dotenv
from surefoot.errors import ConfigurationError, SurefootError
from surefoot.observe import messages, need
from surefoot.update import events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from surefoot.config import Config
    from surefoot.home import Home

SETTING = "SUREFOOT_NOTIFY_URLS"


class NotifyError(SurefootError):
    """A message was not taken. Says no address."""


def urls(home: Home, environment: Mapping[str, str] | None = None) -> list[str]:
    """The addresses, separated by white space in the setting; none where it is not set."""
    found = (os.environ if environment is None else environment).get(SETTING)
    return (found or dotenv(home.root).get(SETTING) or "").split()


@dataclass
class Notifications:
    """Tells administrators. Events that come together, or too fast, become one message."""

    config: Config
    addresses: Sequence[str]
    name: str = "notifications"

    def wants(self, event: events.Event) -> bool:
        return event.name in self.config.notify.events and event.name in events.KNOWN

    def not_before(
        self, found: Sequence[events.Event], last: datetime | None, now: datetime
    ) -> datetime:
        if any(event.name in messages.URGENT for event in found):
            return now
        settings = self.config.notify
        when = now if last is None else max(now, last + timedelta(seconds=settings.interval_s))
        return messages.quiet_until(when.astimezone(), settings.quiet)

    def send(self, found: Sequence[events.Event]) -> None:
        self.tell(
            messages.message(
                found,
                app=self.config.app.name,
                host=socket.gethostname(),
                language=self.config.notify.language,
            )
        )

    def tell(self, message: messages.Message) -> None:
        """Sends to every address. Raises NotifyError where one of them has not taken it."""
        failed = [said for address in self.addresses if (said := self._tell_one(address, message))]
        if failed:
            raise NotifyError(", ".join(failed))

    def _tell_one(self, address: str, message: messages.Message) -> str:
        """What is wrong, without a word of the address; empty where it was taken."""
        need("notify", "apprise")
        logging.getLogger("apprise").propagate = False  # it says addresses
        import apprise

        scheme = address.partition(":")[0][:20]
        told = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, storage_mode="memory"))
        if not told.add(address):
            return f"{scheme}: not an address that Apprise knows"
        self._point(told[0])
        told[0].overflow_mode = apprise.OverflowMode.SPLIT  # or one that is too long never goes
        capture: Any = apprise.LogCapture
        with capture(level=logging.WARNING) as log:
            kind = apprise.NotifyType.FAILURE if message.urgent else apprise.NotifyType.INFO
            taken = told.notify(
                title=message.title,
                body=message.body,
                notify_type=kind,
                body_format=apprise.NotifyFormat.TEXT,  # what an app prints is no markup
            )
            why = log.getvalue()
        return "" if taken else f"{scheme}: {_without_secrets(why, address)}"

    def _point(self, service: Any) -> None:
        """A Telegram Bot API server of one's own."""
        api = self.config.notify.telegram_api
        if api and hasattr(service, "bot_token"):
            service.notify_url = f"{api.rstrip('/')}/bot"


def _without_secrets(text: str, address: str) -> str:
    """The last line of what Apprise says, without any part of the address."""
    lines = text.strip().splitlines() or ["it was not taken"]
    said = re.sub(r"\S+://\S+", "...", lines[-1].rpartition(" - WARNING - ")[2] or lines[-1])
    for part in sorted(re.split(r"[/:@?&=,]+", address), key=len, reverse=True):
        if len(part) >= 4:
            said = said.replace(part, "...")
    return said[:200]


def check(config: Config) -> None:
    """Raises ConfigurationError for events that nobody is ever told of."""
    unknown = [name for name in config.notify.events if name not in events.KNOWN]
    if unknown:
        raise ConfigurationError(
            f"[notify] events: nobody can be told of `{unknown[0]}`.",
            next_step=f"Known are: {', '.join(sorted(events.KNOWN))}.",
        )
