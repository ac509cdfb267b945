"""Lines, a real rsyslog and a real OTLP receiver: all are told the same, with the update's id."""

from __future__ import annotations

import json
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.needs import program
from tests.tiny import Repository, Tiny, free_port

from surefoot.observe.delivery import places
from surefoot.update import events
from surefoot.update.causes import Cause

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def begun() -> datetime:
    """When the update was asked for: just now, since old news is not told."""
    return datetime.now(UTC) - timedelta(seconds=20)


@pytest.fixture
def tiny(tmp_path: Path, begun: datetime) -> Tiny:
    """A home in which an update has failed."""
    repository = Repository(tmp_path / "source")
    repository.release("v1")
    found = Tiny(tmp_path, repository)
    found.home.data.mkdir()
    told: list[events.Event] = [
        events.Requested(at=begun, update="u1", text="An update.", from_="a", to="b", ref="v2"),
        events.Staged(at=begun + timedelta(seconds=4), update="u1", text='Release "b]" is ready.'),
        events.Stopped(at=begun + timedelta(seconds=5), update="u1", text="The app has ended."),
        events.RolledBack(
            at=begun + timedelta(seconds=9), update="u1", text="Rolled back,\na serves.",
            from_="a", to="b", ref="v2", cause=Cause.MIGRATION, reason="no such table",
            durations={"stage": 3.5, "stop": 0.5, "migrate": 1.0, "window": 4.5},
        ),
    ]  # fmt: skip
    lines = [msgspec.json.encode(events.record(event)) + b"\n" for event in told]
    found.home.history.write_bytes(b"".join(lines))
    return found


def test_lines_are_json_with_the_id_of_the_update_in_each(tiny: Tiny, begun: datetime) -> None:
    tiny.configure('\n[logs]\nformat = "auto"\n')
    done = tiny.command("deliver")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in found] == ["requested", "staged", "stopped", "rolled_back"]
    assert {line["update"] for line in found} == {"u1"}
    assert {(line["logger"], line["app"]) for line in found} == {("surefoot", "tiny")}
    last = found[-1]
    assert (last["level"], last["cause"], last["durations"]["window"]) == (
        "error",
        "migration",
        4.5,
    )
    assert datetime.fromisoformat(last["timestamp"]) == begun + timedelta(seconds=9)
    assert tiny.command("deliver").stdout == ""


def test_lines_for_people_say_the_id_as_well(tiny: Tiny) -> None:
    tiny.configure('\n[logs]\nformat = "human"\n')
    lines = tiny.command("deliver").stdout.splitlines()
    assert all("update=u1" in line for line in lines if "=" in line)
    assert any("The app has ended." in line for line in lines)


def test_a_running_update_speaks_json_and_the_app_keeps_its_own_voice(
    tmp_path: Path,
) -> None:
    repository = Repository(tmp_path / "source")
    repository.release("v1")
    tiny = Tiny(tmp_path, repository)
    tiny.configure('\n[logs]\nformat = "json"\n')
    try:
        tiny.start()
        tiny.wait_for_version("v1")
        tiny.wait_until_quiet()
        tiny.wait_for(
            lambda: '"name":"committed"' in tiny.log_tail().replace(" ", ""), "it is said"
        )
    finally:
        tiny.kill_all()
    own = [line for line in tiny.log.read_text().splitlines() if line.startswith("{")]
    assert all(json.loads(line)["update"] for line in own)
    assert "surefoot: Committed" not in tiny.log.read_text()


@pytest.fixture
def rsyslog(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Its port, for TCP and UDP, and the file into which it writes what it has understood."""
    port, file = free_port(), tmp_path / "received"
    configuration = tmp_path / "rsyslog.conf"
    configuration.write_text(
        'module(load="imtcp")\nmodule(load="imudp")\nmodule(load="mmpstrucdata")\n'
        f'input(type="imtcp" port="{port}" address="127.0.0.1")\n'
        f'input(type="imudp" port="{port}" address="127.0.0.1")\n'
        'action(type="mmpstrucdata")\n'
        'template(name="all" type="list") {\n'
        '  property(name="protocol-version") constant(value="|")\n'
        '  property(name="syslogseverity-text") constant(value="|")\n'
        '  property(name="app-name") constant(value="|") property(name="msgid")\n'
        '  constant(value="|") property(name="$!rfc5424-sd!surefoot@32473!update")\n'
        '  constant(value="|") property(name="msg") constant(value="\\n") }\n'
        f'action(type="omfile" file="{file}" template="all")\n'
    )
    process = subprocess.Popen(
        [program("rsyslogd", "rsyslog"), "-n", "-f", str(configuration),
         "-i", str(tmp_path / "rsyslog.pid")],
    )  # fmt: skip
    yield port, file
    process.terminate()
    process.wait(30)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_syslog_understands_every_part(
    tiny: Tiny, rsyslog: tuple[int, Path], protocol: str
) -> None:
    port, file = rsyslog
    tiny.configure(f'\n[logs]\nsyslog = "tcp://127.0.0.1:{port}"\n')

    def reached() -> bool:
        tiny.command("deliver")
        found = places(tiny.home).get("syslog")
        return bool(found and found.sent)

    tiny.wait_for(reached, "rsyslog listens")
    if protocol == "udp":
        tiny.wait_for(lambda: file.exists() and "rolled_back" in file.read_text(), "they came")
        file.write_text("")
        tiny.home.delivered.unlink()
        tiny.configure(f'\n[logs]\nsyslog = "udp://127.0.0.1:{port}"\n')
        tiny.command("deliver")
    tiny.wait_for(lambda: file.exists() and "rolled_back" in file.read_text(), "they came")
    found = [line.split("|") for line in file.read_text().splitlines() if "|tiny|" in line]
    assert [line[3] for line in found] == ["requested", "staged", "stopped", "rolled_back"]
    assert {(line[0], line[2], line[4]) for line in found} == {("1", "tiny", "u1")}
    assert [line[1] for line in found] == ["info", "info", "info", "err"]
    assert found[1][5].endswith('Release "b]" is ready.')
    assert found[3][5].endswith("Rolled back, a serves.")


class Receiver:
    """Takes OTLP over HTTP, as a collector does."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.bodies.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def of(self, path: str, kind: Any) -> Any:
        [body] = [body for where, body in self.bodies if where == path]
        return kind.FromString(body)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()
    found.thread.join()


def test_a_receiver_gets_logs_and_a_trace_with_a_span_for_each_step(
    tiny: Tiny, receiver: Receiver
) -> None:
    tiny.configure(f'\n[logs]\notlp = "http://127.0.0.1:{receiver.server.server_port}"\n')
    done = tiny.command("deliver")
    assert (done.returncode, done.stderr) == (0, "")
    [resource] = receiver.of("/v1/logs", ExportLogsServiceRequest).resource_logs
    records = resource.scope_logs[0].log_records
    assert [r.body.string_value for r in records][2] == "The app has ended."
    updates = {
        a.value.string_value for r in records for a in r.attributes if a.key == "surefoot.update"
    }
    assert updates == {"u1"}
    [resource] = receiver.of("/v1/traces", ExportTraceServiceRequest).resource_spans
    spans = {span.name: span for span in resource.scope_spans[0].spans}
    assert spans.keys() == {"update", "stage", "stop", "migrate"}
    root = spans["update"]
    assert {r.trace_id for r in records} == {root.trace_id}
    assert {s.parent_span_id for n, s in spans.items() if n != "update"} == {root.span_id}
    assert root.end_time_unix_nano - root.start_time_unix_nano == 9_000_000_000
    assert root.status.message == "no such table"
    stage = spans["stage"]
    assert stage.end_time_unix_nano - stage.start_time_unix_nano == 3_500_000_000
    assert spans["stop"].end_time_unix_nano - root.start_time_unix_nano == 5_000_000_000
