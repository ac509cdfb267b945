"""What Prometheus is told: by its own rules, about what really happened."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.needs import program
from tests.observe.test_notifications import Faulty
from tests.tiny import Repository, Tiny, free_port

from surefoot.observe import delivery
from surefoot.observe.metrics import HomeCollector, exposition
from surefoot.observe.tally import Histogram
from surefoot.update import events
from surefoot.update.causes import Cause
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = files("surefoot.observe")


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    repository = Repository(tmp_path / "source")
    repository.release("v1")
    found = Tiny(tmp_path, repository)
    found.home.data.mkdir()
    return found


def happened(tiny: Tiny, *found: events.Event) -> None:
    history = History(tiny.home)
    for event in found:
        line = events.record(event)
        history.append(line.update, line.event, line.text, **line.facts)


def ended(cls: type[events.Ended], /, **facts: Any) -> events.Ended:
    return cls(at=datetime.now(UTC), update="u1", **facts)


def sample(text: str, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return found.value
    return None


def test_names_and_units_are_by_prometheus_rules(tiny: Tiny) -> None:
    happened(tiny, ended(events.Committed, to="b", durations={"stop": 0.2, "stage": 3.0}))
    tiny.home.delivered.write_bytes(b'{"log": {"offset": 0, "failed": 2, "given_up": 1}}')
    checked = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"],
        input=exposition(tiny.home), capture_output=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_what_happened_is_counted_once_however_often_it_is_looked_at(tiny: Tiny) -> None:
    happened(
        tiny,
        ended(events.Committed, to="b", durations={"stop": 0.2, "stage": 3.0, "window": 1.5}),
        ended(events.RolledBack, to="c", cause=Cause.MIGRATION, durations={"stop": 0.3}),
        ended(events.Committed, to="b", kind="rollback", origin="watch", cause=Cause.CRASHES),
        ended(events.Abandoned, origin="schedule", cause=Cause.SOURCE),
        events.Checked(at=datetime.now(UTC), update="u2", outcome="up_to_date"),
    )
    collector = HomeCollector(tiny.home)
    list(collector.collect())
    happened(tiny, ended(events.Broken, to="d", cause=Cause.MIGRATION))
    found = {
        (s.name, tuple(sorted(s.labels.values()))): s.value
        for family in collector.collect()
        for s in family.samples
    }
    assert found["surefoot_updates_total", ("committed", "update")] == 1
    assert found["surefoot_updates_total", ("broken", "update")] == 1
    assert found["surefoot_updates_total", ("abandoned", "update")] == 0
    assert found["surefoot_update_failures_total", ("migration", "rolled_back")] == 1
    assert found["surefoot_rollbacks_total", ("migration",)] == 1
    assert found["surefoot_rollbacks_total", ("crashes",)] == 1
    assert found["surefoot_rollbacks_total", ("start",)] == 0
    assert found["surefoot_checks_total", ("failed",)] == 1
    assert found["surefoot_checks_total", ("up_to_date",)] == 1
    assert found["surefoot_last_update", ("broken",)] == 1
    assert found["surefoot_step_duration_seconds_count", ("stop",)] == 2
    assert found["surefoot_step_duration_seconds_bucket", ("0.25", "stop")] == 1
    assert found["surefoot_downtime_seconds_count", ()] == 1
    assert found["surefoot_staging_duration_seconds_sum", ()] == 3


def test_what_could_not_be_delivered_is_counted_by_adapter(tiny: Tiny) -> None:
    old = events.record(events.Staged(at=datetime.now(UTC) - timedelta(days=2), update="u1"))
    tiny.home.history.write_bytes(msgspec.json.encode(old) + b"\n")
    happened(tiny, events.Staged(at=datetime.now(UTC), update="u2"))
    assert "surefoot_delivery_failures_total{" not in exposition(tiny.home).decode()
    tiny.home.delivered.write_bytes(b'{"faulty": {"offset": 0}, "well": {"offset": 0}}')
    delivery.Courier(tiny.home, [Faulty(1)], lambda _: True).run()
    text = exposition(tiny.home).decode()
    assert sample(text, "surefoot_delivery_failures_total", adapter="faulty") == 1
    assert sample(text, "surefoot_undelivered_events_total", adapter="faulty") == 1
    assert sample(text, "surefoot_delivery_failures_total", adapter="well") == 0
    tiny.home.delivered.write_bytes(b"{")
    assert sample(exposition(tiny.home).decode(), "surefoot_supervisor_running") == 0


def test_a_duration_on_a_bound_is_in_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 9.0):
        histogram.add(seconds)
    assert histogram.buckets() == [("1", 2.0), ("2", 3.0), ("+Inf", 4.0)]
    assert histogram.sum_s == 12


def test_a_home_with_nothing_in_it_has_metrics(tiny: Tiny) -> None:
    (tiny.home.root / "surefoot.toml").unlink()
    tiny.home.lock.write_bytes(b"{")
    text = exposition(tiny.home).decode()
    assert sample(text, "surefoot_supervisor_running") == 0
    assert sample(text, "surefoot_update_state", surefoot_update_state="damaged") == 1


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_rules_and_dashboard_use_only_what_exists(tiny: Tiny, name: str) -> None:
    happened(tiny, ended(events.Abandoned, to="b", durations={"stage": 1.0, "stop": 1.0}))
    tiny.home.releases.mkdir()
    text = exposition(tiny.home).decode()
    known = {s.name for f in text_string_to_metric_families(text) for s in f.samples}
    known |= {"surefoot_update_begun_timestamp_seconds", "surefoot_release_info"}  # not always
    queries = SHIPPED.joinpath(name).read_text()
    if name == "grafana.json":
        found = [t["expr"] for p in json.loads(queries)["panels"] for t in p["targets"]]
    else:
        found = re.findall(r"expr:(.*?)(?:labels|for):", queries, re.DOTALL)
    used = {word for query in found for word in re.findall(r"\bsurefoot_\w+(?=[{ *)]|$)", query)}
    assert len(found) >= 8
    assert len(used) >= 6
    assert used - known == set()
    values = {
        label for s in re.findall(r'surefoot_\w+="([^"]+)"', queries) for label in s.split("|")
    }
    assert values <= set(re.findall(r'surefoot_\w+="([^"]+)"', text))


def test_each_rule_fires_and_keeps_still_when_it_should(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_bytes(SHIPPED.joinpath("alerts.yml").read_bytes())
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)
    promtool = program("promtool", "prometheus")
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(
            [promtool, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_textfile_is_replaced_as_a_whole(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "surefoot.prom"
    file.write_text("old")
    told = tiny.command("metrics", "--textfile", str(file))
    assert (told.returncode, told.stdout) == (0, ""), told.stderr
    assert sample(file.read_text(), "surefoot_supervisor_running") == 0
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_the_endpoint_answers_until_it_is_ended(tiny: Tiny) -> None:
    port = free_port()
    command = ["-m", "surefoot", "metrics", "--listen", f"127.0.0.1:{port}"]
    with running(tiny, *command, "--home", str(tiny.home.root)) as process:
        tiny.wait_for(lambda: answer(port), "the endpoint answers")
        assert sample(answer(port), "surefoot_supervisor_running") == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_an_app_can_mount_the_endpoint(tiny: Tiny, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "mounted.py").write_text(
        "from starlette.applications import Starlette\n"
        "from starlette.routing import Mount\n"
        "from surefoot.observe import endpoint\n"
        "app = Starlette(routes=[Mount('/metrics', endpoint.asgi())])\n"
    )
    command = ["-m", "uvicorn", "--app-dir", str(tmp_path), "--port", str(port), "mounted:app"]
    with running(tiny, *command):
        tiny.wait_for(lambda: answer(port), "the app answers")
        assert sample(answer(port), "surefoot_supervisor_running") == 0


@contextlib.contextmanager
def running(tiny: Tiny, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = tiny.environment | {"SUREFOOT_HOME": str(tiny.home.root)}
    process = subprocess.Popen([sys.executable, *arguments], env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def answer(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics/", timeout=10) as response:
            return str(response.read(), "utf-8")
    except OSError:
        return ""
