"""Events as OpenTelemetry says them: a log record each, a trace per update, a span per step.

The ids are made from the update's, so logs and trace belong together, and what is delivered twice
is the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from surefoot import __version__
from surefoot.observe.logs import TIMEOUT_S, facts
from surefoot.observe.tally import NOT_STEPS
from surefoot.update import events
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from surefoot.config import Config
    from surefoot.home import Home

_SEVERITIES = {
    "info": SeverityNumber.INFO, "warning": SeverityNumber.WARN, "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}  # fmt: skip
_ENDS = {
    "stage": "staged", "stop": "stopped", "snapshot": "snapshotted", "migrate": "migrated",
    "switch": "switched", "start": "started", "judge": "healthy", "probation": "healthy",
}  # fmt: skip
"""The event with which a step ends."""


@dataclass
class Telemetry:
    """Sends to one receiver."""

    home: Home
    config: Config

    def __post_init__(self) -> None:
        base = (self.config.logs.otlp or "").rstrip("/")
        self._logs = OTLPLogExporter(endpoint=f"{base}/v1/logs", timeout=TIMEOUT_S)
        self._spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=TIMEOUT_S)
        self._resource = Resource.create(
            {"service.name": self.config.app.name, "telemetry.source": f"surefoot {__version__}"}
        )

    def export(self, found: Sequence[events.Event]) -> bool:
        """Whether the receiver has taken all of it."""
        records = self._records(found)
        if self._logs.export(records) is not LogRecordExportResult.SUCCESS:
            return False
        spans = [
            span
            for event in found
            if isinstance(event, events.Ended) and event.to is not None
            for span in self._trace(event)
        ]
        return not spans or self._spans.export(spans) is SpanExportResult.SUCCESS

    def _records(self, found: Sequence[events.Event]) -> Sequence[Any]:
        exporter: Any = InMemoryLogRecordExporter
        memory = exporter()
        provider = LoggerProvider(resource=self._resource, shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
        logger = provider.get_logger("surefoot", __version__)
        for event in found:
            logger.emit(
                LogRecord(
                    timestamp=_nanoseconds(event.at),
                    context=_context(event.update),
                    severity_text=event.level.upper(),
                    severity_number=_SEVERITIES[event.level],
                    body=event.text,
                    attributes={
                        f"surefoot.{key}": value
                        if isinstance(value, str | int | float | bool)
                        else str(value)
                        for key, value in facts(event).items()
                    },
                )
            )
        found_records: Sequence[Any] = memory.get_finished_logs()
        return found_records

    def _trace(self, ended: events.Ended) -> Sequence[ReadableSpan]:
        """The update as a span, and its steps below."""
        told = History(self.home).of(ended.update)
        at = {line.event: line.at for line in told}
        begin = told[0].at if told else ended.at
        memory = InMemorySpanExporter()
        provider = TracerProvider(
            resource=self._resource, id_generator=_Ids(ended.update), shutdown_on_exit=False
        )
        provider.add_span_processor(SimpleSpanProcessor(memory))
        tracer = provider.get_tracer("surefoot", __version__)
        root = tracer.start_span(
            ended.kind, start_time=_nanoseconds(begin),
            attributes={f"surefoot.{k}": str(v) for k, v in facts(ended).items() if k != "output"},
        )  # fmt: skip
        if ended.name != "committed":
            root.set_status(Status(StatusCode.ERROR, ended.reason))
        cursor = begin
        for step, seconds in ended.durations.items():
            if step in NOT_STEPS - {"stage"}:
                continue
            end = at.get(_ENDS.get(step, ""), cursor + timedelta(seconds=seconds))
            start = end - timedelta(seconds=seconds)
            span = tracer.start_span(
                step, context=set_span_in_context(root), start_time=_nanoseconds(start)
            )
            span.end(_nanoseconds(end))
            cursor = end
        root.end(_nanoseconds(ended.at))
        return memory.get_finished_spans()


class _Ids(IdGenerator):
    """Always the same for the same update."""

    def __init__(self, update: str) -> None:
        self._update = update
        self._spans = 0

    def generate_trace_id(self) -> int:
        return _trace_id(self._update)

    def generate_span_id(self) -> int:
        self._spans += 1
        return _span_id(self._update, self._spans)


def _trace_id(update: str) -> int:
    return int.from_bytes(hashlib.sha256(update.encode()).digest()[:16], "big") or 1


def _span_id(update: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{update}/{number}".encode()).digest()[:8], "big") or 1


def _context(update: str) -> Any:
    flags = TraceFlags(TraceFlags.SAMPLED)
    context = SpanContext(
        _trace_id(update), _span_id(update, 1), is_remote=False, trace_flags=flags
    )
    return set_span_in_context(NonRecordingSpan(context))


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
