"""What every page is made with: who looks, in which language, and the templates."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined

from surefoot import config
from surefoot.dashboard.wording import LANGUAGES, Wording, choose_language
from surefoot.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

    from surefoot.dashboard.access import Visitor
    from surefoot.dashboard.board import Board

STATIC = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}
LANGUAGE_COOKIE = "surefoot_language"

_templates = Environment(
    loader=PackageLoader("surefoot.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class View:
    """Who looks, in which language, and below which path."""

    board: Board
    request: HTTPConnection
    visitor: Visitor | None

    @property
    def base(self) -> str:
        return str(self.request.scope.get("root_path", ""))

    @functools.cached_property
    def wording(self) -> Wording:
        chosen = self.request.cookies.get(LANGUAGE_COOKIE)
        if chosen not in LANGUAGES:
            chosen = choose_language(self.request.headers.get("accept-language", ""))
        return Wording(chosen)

    async def is_gone(self) -> bool:
        """Whether nobody listens any more."""
        return await cast("Request", self.request).is_disconnected()

    @property
    def may_change(self) -> bool:
        return self.visitor is not None and not self.board.settings.read_only

    def fill(self, template: str, **values: Any) -> str:
        """A template with what every page knows."""
        path = str(self.request.scope["path"]).removeprefix(self.base)
        if query := self.request.scope.get("query_string", b"").decode("latin-1"):
            path = f"{path}?{query}"
        known = {
            "t": self.wording,
            "base": self.base,
            "path": path,
            "here": str(self.request.scope["path"]).removeprefix(self.base),
            "visitor": self.visitor,
            "may_change": self.may_change,
            "read_only": self.board.settings.read_only,
            "languages": LANGUAGES,
            "app_name": _app_name(self.board),
            "stamp": _stamp(),
            "live": "",
            "refresh_s": 0,
        }
        return _templates.get_template(template).render(known | values)


def _app_name(board: Board) -> str:
    try:
        return config.load(board.home.root).app.name
    except ConfigurationError:
        return "Surefoot"


@functools.cache
def _stamp() -> str:
    """Changes when a file that browsers keep does."""
    content = b"".join(static(name) for name in STATIC)
    return hashlib.sha256(content).hexdigest()[:10]


@functools.cache
def static(name: str) -> bytes:
    return (files("surefoot.dashboard") / "static" / name).read_bytes()
