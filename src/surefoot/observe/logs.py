"""Where else the events are said: lines on stdout, a syslog, an OTLP receiver."""

from __future__ import annotations

import contextlib
import socket
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from surefoot.errors import SurefootError
from surefoot.observe import need
from surefoot.update import events

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from surefoot.config import Config
    from surefoot.home import Home

_LOCAL0 = 16
_SEVERITIES = {"info": 6, "warning": 4, "error": 3, "critical": 2}
TIMEOUT_S = 10.0


class LogError(SurefootError):
    """The lines were not taken."""


def facts(event: events.Event) -> dict[str, Any]:
    """What a log says of an event beside its sentence: the update's id first."""
    line = events.record(event)
    found = {"update": event.update, "event": line.event}
    return found | {k: v for k, v in line.facts.items() if v not in (None, "", [], {}, ())}


@dataclass
class _Log:
    """Wants every event, at once."""

    config: Config
    name: str = ""

    def wants(self, event: events.Event) -> bool:  # noqa: ARG002 - an adapter's signature
        return True

    def not_before(
        self,
        found: Sequence[events.Event],  # noqa: ARG002
        last: datetime | None,  # noqa: ARG002
        now: datetime,
    ) -> datetime:
        return now


@dataclass
class Lines(_Log):
    """On stdout, through structlog: JSON, or for people. What the app prints stays its own."""

    name: str = "log"
    _say: Callable[..., None] | None = None

    def send(self, found: Sequence[events.Event]) -> None:
        say = self._say = self._say or self._logger()
        for event in found:
            say(event)
        sys.stdout.flush()

    def _logger(self) -> Callable[[events.Event], None]:
        need("logs", "structlog")
        import structlog

        wanted = self.config.logs.format
        human = wanted == "human" or (wanted == "auto" and sys.stdout.isatty())
        render: Any = (
            structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
            if human
            else structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        )
        log = structlog.wrap_logger(
            structlog.PrintLogger(sys.stdout),
            processors=[structlog.processors.add_log_level, render],
        )

        def say(event: events.Event) -> None:
            told = facts(event)
            words = {
                "timestamp": event.at.isoformat(),
                "logger": "surefoot",
                "app": self.config.app.name,
            }
            name = told.pop("event")  # which structlog takes for the sentence
            getattr(log, event.level)(event.text or name, **words, name=name, **told)

        return say


@dataclass
class Syslog(_Log):
    """As RFC 5424 says it, over UDP, TCP (octet counting, RFC 6587) or a Unix socket."""

    name: str = "syslog"

    def send(self, found: Sequence[events.Event]) -> None:
        place = urlsplit(self.config.logs.syslog or "")
        try:
            with contextlib.closing(_connected(place)) as connection:
                for event in found:
                    line = syslog_line(event, self.config.app.name)
                    if connection.type == socket.SOCK_STREAM:
                        line = b"%d %s" % (len(line), line)
                    connection.sendall(line)
        except OSError as error:
            raise LogError(f"{self.config.logs.syslog}: {error.strerror or error}") from None


def syslog_line(event: events.Event, app: str) -> bytes:
    """One event by RFC 5424, the facts as structured data under a name of our own."""
    priority = _LOCAL0 * 8 + _SEVERITIES[event.level]
    told = facts(event)
    at = event.at.isoformat(timespec="microseconds")
    data = " ".join(
        f'{key}="{_escaped(str(value))}"' for key, value in told.items() if key != "event"
    )
    head = f"<{priority}>1 {at} {socket.gethostname()} {_word(app)} - {_word(told['event'])}"
    text = " ".join(event.text.split())
    return f"{head} [surefoot@32473 {data}] \ufeff{text}".encode()


def _escaped(value: str) -> str:
    for sign in ("\\", '"', "]"):
        value = value.replace(sign, f"\\{sign}")
    return " ".join(value.split())[:1000]


def _word(text: str) -> str:
    return "".join(sign for sign in text if 32 < ord(sign) < 127)[:32] or "-"


def _connected(place: Any) -> socket.socket:
    if place.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        connection.connect(place.path)
        return connection
    kind = socket.SOCK_DGRAM if place.scheme == "udp" else socket.SOCK_STREAM
    address = (place.hostname, place.port or 514)
    if kind == socket.SOCK_STREAM:
        return socket.create_connection(address, timeout=TIMEOUT_S)
    family = socket.getaddrinfo(*address, type=kind)[0][0]
    connection = socket.socket(family, kind)
    connection.connect(address)
    return connection


@dataclass
class Otlp(_Log):
    """Logs, and a trace of each update with a span per step, to an OTLP/HTTP receiver.

    What OpenTelemetry reads from the environment, such as OTEL_EXPORTER_OTLP_HEADERS, counts.
    """

    name: str = "otlp"
    home: Home = field(kw_only=True)
    _telemetry: Any = None

    def send(self, found: Sequence[events.Event]) -> None:
        need("logs", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
        from surefoot.observe.telemetry import Telemetry

        self._telemetry = self._telemetry or Telemetry(self.home, self.config)
        if not self._telemetry.export(found):
            raise LogError(f"{self.config.logs.otlp} has not taken them")
