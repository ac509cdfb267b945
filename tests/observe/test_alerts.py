"""Every alert rule fires when what it tells of really happens: a real Prometheus reads the metrics
of a real home."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from tests.needs import program
from tests.tiny import Repository, Tiny, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRAPED_EVERY = "200ms"


def hurried(rules: str) -> str:
    """The rules as they are shipped, in a world where an hour lasts a second."""
    rules = rules.replace("> 3600", "> 1").replace("for: 5m", "for: 0s")
    assert "3600" not in rules
    return rules


class Prometheus:
    def __init__(self, folder: Path, target: int) -> None:
        folder.mkdir()
        self.port = free_port()
        rules = files("surefoot.observe").joinpath("alerts.yml").read_text()
        self.rules = re.findall(r"alert: (\w+)", rules)
        (folder / "alerts.yml").write_text(hurried(rules))
        (folder / "prometheus.yml").write_text(
            f"global: {{ scrape_interval: {SCRAPED_EVERY}, scrape_timeout: {SCRAPED_EVERY}, "
            f"evaluation_interval: {SCRAPED_EVERY} }}\n"
            "rule_files: [alerts.yml]\n"
            "scrape_configs:\n"
            "  - job_name: surefoot\n"
            f"    static_configs: [{{ targets: ['127.0.0.1:{target}'] }}]\n"
        )
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program("prometheus", "prometheus"), "--config.file", "prometheus.yml",
                 "--storage.tsdb.path", "data", "--web.listen-address", f"127.0.0.1:{self.port}"],
                cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip

    def firing(self) -> set[str]:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.port}/api/v1/alerts"
            with urllib.request.urlopen(url, timeout=10) as response:
                found = json.load(response)["data"]["alerts"]
            return {a["labels"]["alertname"] for a in found if a["state"] == "firing"}
        return set()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    repository = Repository(tmp_path / "source")
    repository.release("v1")
    found = Tiny(tmp_path, repository)
    yield found
    found.kill_all()


@pytest.fixture
def prometheus(tmp_path: Path, tiny: Tiny) -> Iterator[Prometheus]:
    target = free_port()
    endpoint = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "metrics", "--listen", f"127.0.0.1:{target}",
         "--home", str(tiny.home.root)],
        env=tiny.environment,
    )  # fmt: skip
    server = Prometheus(tmp_path / "prometheus", target)
    yield server
    for process in (server.process, endpoint):
        process.terminate()
        process.wait(30)


def test_each_rule_fires_when_it_really_happens(tiny: Tiny, prometheus: Prometheus) -> None:
    seen: set[str] = set()

    def wait_for(rule: str, *, gone: bool = False) -> None:
        seen.add(rule)
        what = f"{rule} {'is over' if gone else 'fires'}"
        tiny.wait_for(lambda: (rule in prometheus.firing()) is not gone, what)

    wait_for("SurefootDown")
    tiny.start()
    tiny.wait_for_version("v1")
    tiny.wait_until_quiet()
    wait_for("SurefootDown", gone=True)
    assert prometheus.firing() == set()

    assert tiny.command("update", "--to", "v9", "--wait").returncode == 6
    wait_for("SurefootUpdateFailed")

    tiny.repository.release("v2", "dies")
    asked = subprocess.Popen(
        [sys.executable, "-m", "surefoot", "update", "--wait", "--home", str(tiny.home.root)],
        env=tiny.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    tiny.wait_for(tiny.home.lock.exists, "the update has begun")
    [engine] = [pid for pid, line in tiny.processes().items() if " engine " in line]
    os.kill(engine, signal.SIGSTOP)
    wait_for("SurefootUpdateStuck")
    os.kill(engine, signal.SIGCONT)
    assert asked.wait(100) == 7
    wait_for("SurefootRolledBack")
    assert "SurefootUpdateFailed" not in prometheus.firing()

    # What the configuration says is read again whenever the metrics are.
    tiny.configure("auto = true\ninterval = 0.1\n")
    wait_for("SurefootNoSuccessfulCheck")
    tiny.configure()
    large = tiny.home.current / "app" / "large"
    with large.open("wb") as file:
        file.truncate(1 << 42)  # it has no room a second time, and takes none now
    wait_for("SurefootDiskNearlyFull")
    large.unlink()

    tiny.repository.release("v4", "ages")
    assert tiny.command("update", "--wait").returncode == 0
    wait_for("SurefootCrashLoop")
    tiny.wait_until_quiet()

    tiny.stop()
    tiny.home.lock.write_bytes(b"{")
    wait_for("SurefootBroken")
    assert seen == set(prometheus.rules)
