"""`surefoot serve`: the dashboard in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn

from surefoot import listening
from surefoot.dashboard.board import create_app
from surefoot.errors import RefusedError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from surefoot.config import Dashboard
    from surefoot.home import Home

GRACE_S = 1
"""How long an answer that is under way may take at the end: live pages never end by themselves."""


def serve(home: Home, settings: Dashboard, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; `ready` is told the address once it can be asked.

    Raises RefusedError where the address is in use, ConfigurationError where the token cannot be
    kept or read.
    """
    app = create_app(home, settings)
    held = _listened(settings.listen, home)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=200,
        )
    )
    ready(_url(held))
    server.run(sockets=[held])


def _listened(address: str, home: Home) -> socket.socket:
    try:
        return listening.listen(address, home.root)
    except RefusedError as error:
        raise RefusedError(
            error.message,
            next_step="End what uses it (`ss -ltnp` shows it), or change [dashboard] listen.",
        ) from None


def _url(held: socket.socket) -> str:
    host, port = held.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
