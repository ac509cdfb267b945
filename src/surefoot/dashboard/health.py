"""Asks the app whether it is well, as the engine would."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

from surefoot import config
from surefoot.errors import SurefootError
from surefoot.health.probes import probes_for
from surefoot.releases import processes
from surefoot.releases.store import Store

if TYPE_CHECKING:
    from surefoot.home import Home


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What the app has answered to the configured question."""

    standing: Literal["healthy", "unhealthy", "unknown"]
    detail: str
    asked_at: datetime
    took_s: float | None = None


def asked(home: Home) -> Health:
    """Asks the app once."""
    begin = time.monotonic()
    store = Store(home)
    try:
        loaded = config.load(home.root)
        current = store.current_id()
        if current is None:
            return Health(standing="unknown", detail="nothing is installed", asked_at=_now())
        settings = loaded.health
        if not (settings.path or settings.http or settings.tcp or settings.command):
            said = "no question is configured"
            return Health(standing="unknown", detail=said, asked_at=_now())
        folder = store.folder(current)
        with probes_for(
            msgspec.structs.replace(settings, notify=False),
            loaded.address(),
            token="",
            notify_socket=None,
            environment=processes.command_environment(folder, home, loaded),
            directory=folder / "app" / loaded.app.directory,
        ) as probe:
            outcome = probe.probe()
    except (SurefootError, OSError) as error:
        return Health(standing="unknown", detail=str(error), asked_at=_now())
    return Health(
        standing="healthy" if outcome.healthy else "unhealthy",
        detail=outcome.detail,
        asked_at=_now(),
        took_s=round(time.monotonic() - begin, 4),
    )


def _now() -> datetime:
    return datetime.now(UTC)
