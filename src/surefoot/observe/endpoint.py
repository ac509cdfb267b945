"""The metrics over HTTP: an endpoint of its own, and one to mount in an app.

In an app it needs `surefoot[engine,metrics]` in the app's environment:

    app.mount("/metrics", surefoot.observe.endpoint.asgi())
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import make_asgi_app, make_wsgi_app, start_http_server

from surefoot.errors import ConfigurationError, RefusedError
from surefoot.home import Home
from surefoot.observe.metrics import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def asgi(home: str | os.PathLike[str] | None = None) -> Callable[..., Any]:
    """An ASGI app that answers every path with the metrics of a home.

    Under `surefoot run` the home is known. Raises ConfigurationError where it is not.
    """
    return make_asgi_app(registry(_home(home)))


def wsgi(home: str | os.PathLike[str] | None = None) -> Callable[..., Any]:
    """The same for WSGI."""
    return make_wsgi_app(registry(_home(home)))


def serve(home: Home, host: str, port: int) -> None:
    """Answers until SIGTERM or Ctrl-C. Raises RefusedError where the address is taken."""
    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)  # before the thread: it inherits the mask
    try:
        server, thread = start_http_server(port, host, registry(home))
    except OSError as error:
        raise RefusedError(f"{host}:{port} cannot be used: {error.strerror or error}.") from None
    signal.sigwait(ended)
    server.shutdown()
    server.server_close()
    thread.join()


def _home(named: str | os.PathLike[str] | None) -> Home:
    root = named or os.environ.get("SUREFOOT_HOME")
    if not root:
        raise ConfigurationError(
            "Which home the metrics are of is not known.",
            next_step="Run the app with `surefoot run`, or name the folder: asgi(home=...).",
        )
    return Home(Path(root).resolve())
