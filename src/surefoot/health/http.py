"""Asks over HTTP, the way the app's own users would."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from surefoot.health.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOKEN_HEADER = "X-Surefoot-Probe"  # noqa: S105 - the header's name
READ_LIMIT = 64 * 1024
"""Bytes of the answer that are read: enough to notice a server that dies within it."""
SERVICE_UNAVAILABLE = 503


class HttpProbe:
    """Healthy is one of the given statuses; a redirect is not followed, it is an answer.

    The whole exchange takes at most `timeout_s`. A certificate is not checked on loopback, where no
    public name fits.
    """

    name = "http"

    def __init__(
        self,
        url: str,
        *,
        status: Sequence[int] = (200,),
        token: str = "",
        timeout_s: float = 5.0,
        path: str | None = None,
    ) -> None:
        """With `path`, it is asked over the Unix socket of that name, as if `url` had led there."""
        self._path = path
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port
        self._is_https = parts.scheme == "https"
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._status = tuple(status)
        self._headers = {"Connection": "close", "User-Agent": "surefoot", "Accept": "*/*"}
        if token:
            self._headers[TOKEN_HEADER] = token
        self._timeout_s = timeout_s

    def probe(self) -> Outcome:
        connection = self._connection()
        try:
            with self._limited(connection):
                connection.request("GET", self._target, headers=self._headers)
                response = connection.getresponse()
                body = response.read(READ_LIMIT)
        except TimeoutError:
            return Outcome(False, f"no answer within {self._timeout_s:g} s")
        except (OSError, http.client.HTTPException) as error:
            return Outcome(False, _explained(error))
        finally:
            connection.close()
        if response.length and len(body) < READ_LIMIT:
            return Outcome(False, "its answer broke off")
        return self._judged(response)

    def close(self) -> None:
        """Nothing is kept open between two questions."""

    def _judged(self, response: http.client.HTTPResponse) -> Outcome:
        expected = " or ".join(map(str, self._status))
        if response.status in self._status:
            return Outcome(True, f"answered {response.status}", answered=True)
        location = response.getheader("Location")
        where = f" -> {location}" if location else ""
        # 503 is how servers (and our own middleware) say "not yet".
        return Outcome(
            False,
            f"answered {response.status}{where}, expected {expected}",
            answered=response.status != SERVICE_UNAVAILABLE,
        )

    def _connection(self) -> http.client.HTTPConnection:
        if self._path is not None:
            return _UnixConnection(self._path, self._host, self._port, self._timeout_s)
        if not self._is_https:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        context = ssl.create_default_context()
        if _is_loopback(self._host):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_s, context=context
        )

    @contextlib.contextmanager
    def _limited(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """A time limit of a socket counts from byte to byte; this one ends a trickle as well."""
        is_over = threading.Event()
        connection.connect()
        opened = connection.sock

        def end() -> None:
            is_over.set()
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException):
            if not is_over.is_set():
                raise
        finally:
            timer.cancel()
        if is_over.is_set():
            raise TimeoutError


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, host: str, port: int | None, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _explained(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "nothing listens there (connection refused)"
        case http.client.RemoteDisconnected():
            return "it closed the connection without an answer"
        case http.client.IncompleteRead():
            return "its answer broke off"
        case _:
            return f"no answer: {str(error) or type(error).__name__}"
