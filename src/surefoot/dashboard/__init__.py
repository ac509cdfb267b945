"""The dashboard: a page and an API that show how updates stand, and ask for them.

`create_app(home)` is an ASGI app, to be served by `surefoot serve` or mounted in another app.
It needs `surefoot[dashboard]`.
"""

from __future__ import annotations

from surefoot.dashboard.board import create_app

__all__ = ["create_app"]
