from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from tests.health.servers import free_address, http_server, tcp_server
from tests.health.test_http import answering

from surefoot.config import Health
from surefoot.errors import ConfigurationError
from surefoot.health.probes import CommandProbe, TcpProbe, probes_for, reachable

ENVIRONMENT = {"PATH": os.environ["PATH"]}


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_tcp_is_healthy_where_somebody_accepts() -> None:
    with tcp_server(lambda _: None) as address:
        assert TcpProbe(address).probe().healthy
    outcome = TcpProbe(free_address()).probe()
    assert not outcome.healthy
    assert outcome.detail == "no connection: Connection refused"


def test_a_command_is_judged_by_its_exit_code() -> None:
    assert CommandProbe("true", environment=ENVIRONMENT).probe().healthy
    probe = CommandProbe(
        "sh -c 'echo checking; echo no schema >&2; exit 3'", environment=ENVIRONMENT
    )
    outcome = probe.probe()
    assert not outcome.healthy
    assert outcome.detail == "the command ended with 3: no schema"


def test_a_command_runs_in_the_given_environment_and_folder(tmp_path: Path) -> None:
    probe = CommandProbe(
        'sh -c \'test "$PLACE" = here && test "$(pwd -P)" = "$1"\' sh ' + str(tmp_path.resolve()),
        environment={**ENVIRONMENT, "PLACE": "here"},
        directory=tmp_path,
    )
    assert probe.probe().healthy


def test_a_command_that_hangs_is_killed_with_all_its_children(tmp_path: Path) -> None:
    written = tmp_path / "pid"
    probe = CommandProbe(
        f"sh -c 'sleep 600 & echo $! > {written}; wait'", environment=ENVIRONMENT, timeout_s=1
    )
    outcome = probe.probe()
    assert outcome.detail == "the command took longer than 1 s"
    deadline = time.monotonic() + 20
    while is_alive(int(written.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(int(written.read_text()))


def test_a_command_that_is_not_there_is_an_answer_not_an_error() -> None:
    outcome = CommandProbe("no-such-command-here", environment=ENVIRONMENT).probe()
    assert not outcome.healthy
    assert "cannot be started" in outcome.detail


def test_a_command_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        CommandProbe("echo 'open", environment=ENVIRONMENT)
    with pytest.raises(ConfigurationError):
        CommandProbe("  ", environment=ENVIRONMENT)
    with pytest.raises(ConfigurationError):
        TcpProbe("no-port")


def test_all_interfaces_are_asked_on_loopback() -> None:
    assert reachable("0.0.0.0:8000") == "127.0.0.1:8000"
    assert reachable(":8000") == "127.0.0.1:8000"
    assert reachable("[::]:8000") == "[::1]:8000"
    assert reachable("app.local:8000") == "app.local:8000"


def test_with_nothing_configured_staying_up_is_health() -> None:
    with probes_for(Health(), None, token="", environment=ENVIRONMENT, notify_socket=None) as probe:
        assert probe.name == "staying up"
        assert probe.probe().healthy


def test_all_configured_probes_must_be_healthy() -> None:
    with http_server(answering(200)) as address:
        health = Health(path="/health", command="false")
        with probes_for(
            health, address, token="", environment=ENVIRONMENT, notify_socket=None
        ) as probe:
            outcome = probe.probe()
        assert not outcome.healthy
        assert outcome.detail == "command: the command ended with 1"
        health = Health(http=f"http://{address}/", tcp=address, command="true")
        with probes_for(
            health, None, token="", environment=ENVIRONMENT, notify_socket=None
        ) as probe:
            assert probe.name == "http and tcp and command"
            assert probe.probe().healthy


def test_in_private_the_app_is_asked_as_if_by_its_address(tmp_path: Path) -> None:
    """Many an app serves only the hosts that it knows."""
    heard = []
    place = tmp_path / "private"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place))
        listening.listen()

        def serve() -> None:
            with listening.accept()[0] as connection:
                heard.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with probes_for(
            Health(path="/health"),
            "0.0.0.0:8000",
            token="",
            environment=ENVIRONMENT,
            notify_socket=None,
            over=place,
        ) as probe:
            assert probe.probe().healthy
        thread.join()
    assert b"\r\nHost: 127.0.0.1:8000\r\n" in heard[0]


def test_the_notify_socket_is_gone_after_use(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    with probes_for(
        Health(notify=True), None, token="", environment=ENVIRONMENT, notify_socket=path
    ) as probe:
        assert path.is_socket()
        assert not probe.probe().healthy
    assert not path.exists()
