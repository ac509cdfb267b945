"""The maintenance answer for WSGI apps: Flask, Django, Bottle.

app.wsgi_app = MaintenanceMiddleware(app.wsgi_app)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surefoot.app.maintenance import STATIC_PREFIXES, TOKEN_HEADER, Maintenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

TOKEN_KEY = "HTTP_" + TOKEN_HEADER.upper().replace("-", "_")


class MaintenanceMiddleware:
    """Keeps everybody but the prober out while the release is in probation or goes back.

    Reads the lock when it is made. Open, it costs one look at an attribute; without Surefoot it is
    always open.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        api_prefixes: Sequence[str] | None = None,
        static_prefixes: Sequence[str] = STATIC_PREFIXES,
    ) -> None:
        self.app = app
        self.maintenance = Maintenance(api_prefixes=api_prefixes, static_prefixes=static_prefixes)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self.maintenance.is_closed:
            answer = self.maintenance.turn_away(
                environ.get("PATH_INFO", "/"),
                environ.get(TOKEN_KEY, ""),
                environ.get("HTTP_ACCEPT_LANGUAGE", ""),
            )
            if answer is not None:
                start_response("503 Service Unavailable", list(answer.headers))
                return [] if environ.get("REQUEST_METHOD") == "HEAD" else [answer.body]
        return self.app(environ, start_response)
