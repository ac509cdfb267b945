"""What the app answers while the gate is closed; the middlewares only carry it to their protocol.

Paths under an API prefix get JSON, pages get the maintenance page, static files pass, and so does
the prober, who knows the lock's token.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from surefoot.app import lockfile, surroundings
from surefoot.app.pages import LANGUAGE_TAGS, RETRY_AFTER_S, OwnPage, choose_language, create_html

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN_HEADER = "X-Surefoot-Probe"  # noqa: S105 - the header's name
STATIC_PREFIXES = ("/static",)
CODE = "maintenance"
MESSAGE = "The app is being updated. Try again in a few seconds."

logger = logging.getLogger("surefoot.app")


@dataclass(frozen=True)
class Answer:
    """A 503, ready for any protocol."""

    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int = 503


class Maintenance:
    """Closed at the start if the lock says so, and open for good once it has said otherwise.

    Look at `is_closed` before every request; while it is false, nothing else need be asked, and no
    file is touched.
    """

    def __init__(
        self,
        *,
        api_prefixes: Sequence[str] | None = None,
        static_prefixes: Sequence[str] = STATIC_PREFIXES,
    ) -> None:
        found = surroundings.api_prefixes() if api_prefixes is None else api_prefixes
        self.api_prefixes = tuple(found)
        self.static_prefixes = tuple(static_prefixes)
        self.is_closed = False
        self._home = surroundings.home() or ""
        own = surroundings.own_page()
        self._page = OwnPage(own) if own else None
        self._lock: lockfile.Lock | None = None
        self._identity: tuple[int, int, int] | None = None
        if self._home:
            self._begin()

    @property
    def is_judged(self) -> bool:
        """Closed, but perhaps not for long: the release may be found healthy at any moment."""
        return (
            self.is_closed and self._lock is not None and self._lock.state in lockfile.JUDGED_STATES
        )

    def turn_away(self, path: str, token: str, accept_language: str) -> Answer | None:
        """The answer for a request that must wait; None for one that may pass."""
        self.look_again()
        if not self.is_closed or self._lock is None or self._is_prober(token):
            return None
        if _is_under(path, self.static_prefixes):
            return None
        return answer_for(path, accept_language, self._lock, self.api_prefixes, self._page)

    def _begin(self) -> None:
        self._identity = self._identify()
        try:
            self._lock = lockfile.read(self._home)
        except lockfile.LockUnreadable as error:
            # Whoever starts the app beside such a lock has decided that it may serve.
            logger.warning("The lock cannot be read, so the app is open: %s", error)
            return
        self.is_closed = self._lock is not None and self._lock.is_closed

    def look_again(self) -> None:
        """Takes in what has become of the lock."""
        identity = self._identify()
        if identity is not None and identity == self._identity:
            return
        try:
            lock = lockfile.read(self._home)
        except lockfile.LockUnreadable:
            return  # stays closed: it was closed, and nothing says that it is over
        self._identity = identity
        self._lock = lock
        self.is_closed = lock is not None and lock.is_closed

    def _identify(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(lockfile.path_in(self._home))  # noqa: PTH116 - once per request
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _is_prober(self, token: str) -> bool:
        expected = self._lock.token if self._lock else ""
        return bool(expected) and hmac.compare_digest(token.encode(), expected.encode())


def answer_for(
    path: str,
    accept_language: str,
    lock: lockfile.Lock,
    api_prefixes: Sequence[str],
    page: OwnPage | None = None,
) -> Answer:
    """What a visitor gets instead of what was asked for."""
    return _json() if _is_under(path, api_prefixes) else _page(lock, accept_language, page)


def _is_under(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(prefix.rstrip("/") + "/") for prefix in prefixes)


def _json() -> Answer:
    body = {"code": CODE, "message": MESSAGE, "retry_after": RETRY_AFTER_S}
    return _answer("application/json", json.dumps(body).encode())


def _page(lock: lockfile.Lock, accept_language: str, own: OwnPage | None) -> Answer:
    language = choose_language(accept_language)
    template = own.template() if own else None
    html = create_html(language, lock.state, _moment(lock.since), template=template)
    return _answer(
        "text/html; charset=utf-8",
        html.encode(),
        ("Content-Language", LANGUAGE_TAGS[language]),
        ("Vary", "Accept-Language"),
    )


def _answer(content_type: str, body: bytes, *headers: tuple[str, str]) -> Answer:
    return Answer(
        (
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("Retry-After", str(RETRY_AFTER_S)),
            ("Cache-Control", "no-store"),
            *headers,
        ),
        body,
    )


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
