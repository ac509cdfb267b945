"""gunicorn under Surefoot: `gunicorn -c python:surefoot.app.gunicorn shop.wsgi`.

An app with a configuration of its own begins it with `from surefoot.app.gunicorn import *`.

gunicorn takes the held sockets by itself (LISTEN_FDS) and lets its workers finish what they have
accepted. What is set here: the time for that fits into `stop_grace`; READY=1 is said when a worker
has loaded the app, and not by the main process, which would say it of an app that cannot be
imported; the maintenance answer is in front of the app; and the log says what became of an update.
"""

from __future__ import annotations

import inspect
import os
import signal
from typing import Any

from surefoot.app import bootstrap, readiness, surroundings
from surefoot.app.ending import SHARE_OF_GRACE

__all__ = ["backlog", "graceful_timeout", "on_starting", "post_fork", "post_worker_init"]

backlog = 4096
graceful_timeout = max(1, round(surroundings.stop_grace_s() * SHARE_OF_GRACE))
"""Seconds that a request may still take; whoever takes longer is killed by gunicorn."""

_NOTIFY = "NOTIFY_SOCKET"
_kept: dict[str, str] = {}
"""What the workers have from the main process, whose environment is without it."""


def on_starting(server: Any) -> None:
    """In the main process, before it begins."""
    if _NOTIFY in os.environ:
        _kept[_NOTIFY] = os.environ.pop(_NOTIFY)
    result = bootstrap.look_back()
    if result.kind != "none":
        server.log.info("%s", result.message)


def post_fork(_server: Any, _worker: Any) -> None:
    """In a worker, before it loads the app.

    Until it has handlers of its own it has those of the main process, and would forget a SIGTERM:
    it went on taking connections until it is killed. It has none yet, so it can end at once.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def post_worker_init(worker: Any) -> None:
    """In a worker that has loaded the app, before it takes the first connection."""
    for name in ("wsgi", "asgi"):
        app = getattr(worker, name, None)
        if app is not None:
            setattr(worker, name, _guarded(app))
    os.environ.update(_kept)
    readiness.report_ready("A worker of gunicorn has loaded the app.")


def _guarded(app: Any) -> Any:
    from surefoot.app import asgi, wsgi

    is_asynchronous = map(inspect.iscoroutinefunction, (app, getattr(app, "__call__", None)))  # noqa: B004
    return (asgi if any(is_asynchronous) else wsgi).MaintenanceMiddleware(app)
