"""Who may look, and who may change something.

- A token opens it: in the log-in form, which starts a session, or as `Authorization: Bearer`.
- A session is a random name in a cookie (HttpOnly, SameSite=Strict); what is known of it lies on
  the disk under the name's hash: it outlives a restart, and ends with a log-out or another token.
- An authenticating proxy may say who it is, in a header that is believed from its addresses only.
- A change needs, besides, the CSRF token of the session or user and, from a browser, our origin.
- The host must be an IP address, localhost or the configured origin's: a foreign name that was made
  to lead here (DNS rebinding) is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from surefoot import durable, stored
from surefoot.dashboard.errors import (
    CrossOriginError,
    NotLoggedInError,
    ReadOnlyError,
    StaleTokenError,
    TooManyTriesError,
    WrongHostError,
    WrongTokenError,
)
from surefoot.dashboard.throttle import Throttle
from surefoot.errors import ConfigurationError, DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import HTTPConnection

    from surefoot.config import Dashboard

_NAME_LIMIT = 60


@dataclass(frozen=True)
class Visitor:
    """Somebody who has shown that they may be here."""

    name: str
    """Who it is, for the audit trail."""
    via: Literal["session", "token", "proxy", "app"]
    csrf: str = ""
    """What a change must bring along; empty where no browser adds the proof of identity itself."""


class _Session(msgspec.Struct, frozen=True):
    name: str
    until: float
    """Seconds since 1970."""
    token: str
    """The digest of the token that it was started with."""


@dataclass
class Access:
    """Of one home. `folder` is ours, and nobody else can read it."""

    folder: Path
    settings: Dashboard
    identify: Callable[[HTTPConnection], str | None] | None = None
    """Asks the app that this is mounted in who it is; None: nobody that may be here."""
    _throttle: Throttle = field(init=False, default_factory=Throttle)

    def __post_init__(self) -> None:
        self._token = self.settings.token or _kept_token(self.folder)
        self._key = hashlib.sha256(b"surefoot dashboard:" + self._token.encode()).digest()

    # -- who

    def visitor(self, request: HTTPConnection) -> Visitor | None:
        """Who asks; None if they have not shown it. Raises TooManyTriesError, WrongTokenError."""
        if self.identify is not None and (name := self.identify(request)):
            return Visitor(_clean(name), "app", self._sign(f"app:{name}"))
        if name := self._by_proxy(request):
            return Visitor(name, "proxy", self._sign(f"proxy:{name}"))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            self._check(token.strip(), self.address(request))
            return Visitor("token", "token")
        return self._by_session(request.cookies.get(self.cookie, ""))

    def admit(self, request: HTTPConnection) -> Visitor:
        """The same; raises NotLoggedInError for a stranger."""
        if (visitor := self.visitor(request)) is None:
            raise NotLoggedInError
        return visitor

    def check_change(self, request: HTTPConnection, visitor: Visitor, csrf: str) -> None:
        """Raises unless this visitor, and not a page from elsewhere, asks for the change."""
        if self.settings.read_only:
            raise ReadOnlyError
        self.check_csrf(request, visitor, csrf)

    def check_csrf(self, request: HTTPConnection, visitor: Visitor, csrf: str) -> None:
        """The same, for what read-only mode allows."""
        self.check_origin(request, required=bool(visitor.csrf))
        if visitor.csrf and not _same(csrf, visitor.csrf):
            raise StaleTokenError

    def check_host(self, request: HTTPConnection) -> None:
        """Raises WrongHostError for a name that is not ours."""
        host = _host(request)
        if host == "localhost" or _is_ip(host):
            return
        if self.settings.origin and host == urlsplit(self.settings.origin).hostname:
            return
        if self.identify is None:  # the app that it is mounted in looks after its own names
            raise WrongHostError(host)

    def check_origin(self, request: HTTPConnection, *, required: bool) -> None:
        """Raises CrossOriginError where a browser says that the page came from elsewhere."""
        origin = request.headers.get("origin")
        if origin is None:
            site = request.headers.get("sec-fetch-site", "same-origin")
            if required or site not in {"same-origin", "none"}:
                raise CrossOriginError
            return
        own = {f"{scheme}://{request.headers.get('host', '')}" for scheme in ("http", "https")}
        if self.settings.origin:
            own = {self.settings.origin.rstrip("/")}
            if _is_ip(_host(request)) or _host(request) == "localhost":
                own.add(f"http://{request.headers.get('host', '')}")
        if origin not in own:
            raise CrossOriginError

    def address(self, request: HTTPConnection) -> str:
        """Where the request comes from, as far as it can be known."""
        peer = request.client.host if request.client else ""
        forwarded = request.headers.get("x-forwarded-for", "")
        if forwarded and self._is_behind_proxy() and self._is_trusted(peer):
            return forwarded.rpartition(",")[2].strip()[:_NAME_LIMIT]
        return peer

    # -- sessions

    @property
    def cookie(self) -> str:
        """Its name: of this home's own, for browsers send cookies to every port of a host."""
        return f"surefoot_{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8]}"

    def log_in(self, token: str, name: str, address: str) -> str:
        """The name of a new session. Raises WrongTokenError, TooManyTriesError."""
        self._check(token, address)
        session = secrets.token_urlsafe(32)
        kept = _Session(_clean(name), time.time() + self.settings.session_s, self._key.hex())
        self._sweep()
        _make_private(self.folder)
        _make_private(self._sessions)
        durable.write(self._file(session), msgspec.json.encode(kept), mode=0o600)
        return session

    def log_out(self, request: HTTPConnection) -> None:
        """Ends the session, if there is one."""
        if session := request.cookies.get(self.cookie):
            self._file(session).unlink(missing_ok=True)

    def is_secure(self, request: HTTPConnection) -> bool:
        """Whether the cookie may be kept to https."""
        return request.url.scheme == "https" or (self.settings.origin or "").startswith("https:")

    @property
    def _sessions(self) -> Path:
        return self.folder / "sessions"

    def _file(self, session: str) -> Path:
        return self._sessions / hashlib.sha256(session.encode()).hexdigest()

    def _by_session(self, session: str) -> Visitor | None:
        if not session:
            return None
        try:
            kept = stored.load(self._file(session), _Session)
        except (FileNotFoundError, DamagedError):
            return None
        if kept.until < time.time() or kept.token != self._key.hex():
            return None
        return Visitor(kept.name, "session", self._sign(f"session:{session}"))

    def _sweep(self) -> None:
        for file in self._sessions.glob("*") if self._sessions.is_dir() else ():
            try:
                is_over = stored.load(file, _Session).until < time.time()
            except (FileNotFoundError, DamagedError):
                is_over = True
            if is_over:
                file.unlink(missing_ok=True)

    # -- parts

    def _check(self, token: str, address: str) -> None:
        wait_s = self._throttle.wait_s(address)
        if wait_s > 0:
            raise TooManyTriesError(wait_s)
        if not _same(token, self._token):
            self._throttle.failed(address)
            raise WrongTokenError
        self._throttle.succeeded(address)

    def _by_proxy(self, request: HTTPConnection) -> str:
        header = self.settings.user_header
        peer = request.client.host if request.client else ""
        if header is None or not self._is_trusted(peer):
            return ""
        values = request.headers.getlist(header)
        return _clean(values[0]) if len(values) == 1 and values[0].strip() else ""

    def _is_behind_proxy(self) -> bool:
        return self.settings.user_header is not None or self.settings.origin is not None

    def _is_trusted(self, peer: str) -> bool:
        if not _is_ip(peer):
            return False
        address = ipaddress.ip_address(peer)
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in ipaddress.ip_network(known) for known in self.settings.trusted)

    def _sign(self, what: str) -> str:
        return hmac.new(self._key, what.encode(), "sha256").hexdigest()


def token_file(folder: Path) -> Path:
    """Where a token that was made lies."""
    return folder / "token"


def _kept_token(folder: Path) -> str:
    """The token in the file, which is made if it is not there."""
    _make_private(folder)
    file = token_file(folder)
    try:
        kept = stored.read(file, limit=4096).decode().strip()
    except FileNotFoundError:
        durable.write(file, f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)
        return _kept_token(folder)
    except (DamagedError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The token in {file} cannot be read: {error}") from None
    if not kept:
        raise ConfigurationError(f"{file} is empty.", next_step="Remove it: it is made anew.")
    if file.stat().st_mode & 0o077:
        raise ConfigurationError(
            f"Others can read the token in {file}.",
            next_step=f"Remove it, to get a new one; or, if nobody has read it: chmod 600 {file}",
        )
    return kept


def _make_private(folder: Path) -> None:
    durable.make_folder(folder, mode=0o700)


def _same(one: str, other: str) -> bool:
    """In a time that does not depend on where they differ, nor on their lengths."""
    digests = (
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (one, other)
    )
    return hmac.compare_digest(*digests)


def _clean(name: str) -> str:
    shown = "".join(c for c in name if c.isprintable()).strip()
    return shown[:_NAME_LIMIT] or "token"


def _host(request: HTTPConnection) -> str:
    host = request.headers.get("host", "")
    return (
        host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    ).lower()


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
