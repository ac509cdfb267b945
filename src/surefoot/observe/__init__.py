"""What operators see: metrics, notifications, logs and plots, all read from the history.

Nothing here is loaded, or runs, unless it is asked for; each part needs the library that its extra
brings.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

from surefoot.errors import ConfigurationError

if TYPE_CHECKING:
    from surefoot.config import Config
    from surefoot.home import Home
    from surefoot.observe.delivery import Adapter


def need(extra: str, *modules: str) -> None:
    """Raises ConfigurationError where the libraries of an extra are not installed here."""
    missing = [name for name in modules if not _is_there(name)]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} is not installed beside Surefoot.",
            next_step=f"pip install 'surefoot[{extra}]'",
        )


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # nor what it would be a part of
        return False


def adapters(home: Home, config: Config) -> list[Adapter]:
    """Those that are configured, to be told of events; none of their libraries is loaded yet."""
    found: list[Adapter] = []
    if "SUREFOOT_NOTIFY_URLS" in os.environ or (home.root / ".env").exists():
        from surefoot.observe import notifications

        if addresses := notifications.urls(home):
            notifications.check(config)
            found.append(notifications.Notifications(config, addresses))
    settings = config.logs
    if settings.format or settings.syslog or settings.otlp:
        from surefoot.observe import logs

        if settings.format:
            found.append(logs.Lines(config))
        if settings.syslog:
            found.append(logs.Syslog(config))
        if settings.otlp:
            found.append(logs.Otlp(config, home=home))
    return found
