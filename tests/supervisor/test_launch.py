"""`surefoot run`: what is prepared before the supervisor takes over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.supervisor.running import (
    Supervised,
    children,
    descriptors,
    eventually,
    ignored_signals,
    is_alive,
    mode_of,
)

from surefoot import control, launch, listening
from surefoot.config import Config, Gate
from surefoot.errors import RefusedError
from surefoot.home import Home

FOREVER = "exec sleep 1000"
LAUNCH = """\
import sys
from pathlib import Path
from surefoot.config import App, Config, Update
from surefoot.errors import SurefootError
from surefoot.home import Home
from surefoot.launch import launch
app = App(stop_grace_s=2.5, crash_delay_s=0.2, stable_after_s=600, listen=sys.argv[2:])
update = Update(auto={auto}, interval_s=90)
try:
    launch(Home(Path(sys.argv[1])), Config(app=app, update=update))
except SurefootError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""
ANSWERING = f"""\
exec {sys.executable} -c '
import os, socket
held = socket.socket(fileno=3)
print(os.environ["LISTEN_FDS"], os.environ["LISTEN_FDNAMES"], os.get_blocking(3), flush=True)
held.setblocking(True)
client, _ = held.accept()
client.sendall(str(os.getpid()).encode())
client.close()
os._exit(3)
'"""


def start(supervised: Supervised, *listen: str, auto: bool = False) -> Supervised:
    with (supervised.home.root / "messages").open("ab") as messages:
        supervised.popen = subprocess.Popen(
            [sys.executable, "-c", LAUNCH.format(auto=auto), str(supervised.home.root), *listen],
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=messages,
            start_new_session=True,
        )
    return supervised


def refused(supervised: Supervised, *listen: str) -> str:
    """Tries to start a supervisor; returns why it was turned down."""
    ended = subprocess.run(
        [sys.executable, "-c", LAUNCH.format(auto=False), str(supervised.home.root), *listen],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("RefusedError: "), ended.stderr
    return ended.stderr.removeprefix("RefusedError: ")


def environment_of(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_text()
    return dict(item.split("=", 1) for item in text.split("\0") if item)


def kill(supervised: Supervised) -> None:
    """What the kernel does to a supervisor when memory runs out."""
    supervised.signal(signal.SIGKILL)
    supervised.wait()


def ask(path: Path) -> int:
    """Connects, waits as long as it takes, and returns the pid that has answered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(40)
        client.connect(str(path))
        return int(client.recv(100))


def test_it_becomes_the_supervisor_and_tells_it_everything(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    start(supervised)
    pid = supervised.pids("web")[0]
    told = environment_of(supervised.running.pid)
    assert told["SUREFOOT_HOME"] == str(supervised.home.root)
    assert told["SUREFOOT_PYTHON"] == sys.executable
    assert [told[f"SUREFOOT_{name}"] for name in ("STOP_GRACE", "CRASH_DELAY")] == ["3", "1"]
    assert told["SUREFOOT_CHECK_INTERVAL"] == "0"
    assert "LISTEN_FDS" not in told
    assert control.lock_of(supervised.home).read_text() == f"{supervised.running.pid}\n"
    assert mode_of(supervised.home.run) == 0o700
    assert mode_of(supervised.home.control) == 0o600
    assert control.is_running(supervised.home)
    assert "SUREFOOT_CONTROL_READY" not in environment_of(pid)
    assert supervised.end() == 143
    assert not control.is_running(supervised.home)


def test_the_interval_counts_only_where_updates_are_automatic(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    start(supervised, auto=True)
    supervised.pids("web")
    assert environment_of(supervised.running.pid)["SUREFOOT_CHECK_INTERVAL"] == "90"


def test_no_release_is_needed_to_start(supervised: Supervised) -> None:
    start(supervised)
    supervised.until_message("The engine ended with")  # there is no surefoot.toml
    assert control.is_running(supervised.home)


def test_sockets_outlive_the_app_and_nobody_is_refused(supervised: Supervised) -> None:
    supervised.process("web", ANSWERING)
    start(supervised, "unix:web.sock")
    first = supervised.pids("web")[0]
    path = Path(os.path.relpath(supervised.home.root / "web.sock"))  # such paths must be short
    assert ask(path) == first
    assert ask(path) != first  # asked while no app runs: the back-off is a second
    assert "1 listen1 False" in supervised.messages()


def test_each_kind_of_address_is_handed_over_and_nothing_else(supervised: Supervised) -> None:
    addresses = ["127.0.0.1:0", "unix:web.sock"]
    if socket.has_dualstack_ipv6():
        addresses.append("[::1]:0")
    supervised.process("web", FOREVER)
    start(supervised, *addresses)
    pid = supervised.pids("web")[0]
    eventually(lambda: "sleep" in Path(f"/proc/{pid}/comm").read_text(), "the process is itself")
    wanted = set(range(3, 3 + len(addresses)))
    assert wanted <= descriptors(pid)
    assert not descriptors(pid) & (set(range(3, 10)) - wanted)
    assert environment_of(pid)["LISTEN_FDS"] == str(len(addresses))
    assert ignored_signals(pid) == set()  # Python's own settings are not passed on


def test_a_second_supervisor_is_refused_and_told_which_is_the_first(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    start(supervised)
    pid = supervised.pids("web")[0]
    assert f"process {supervised.running.pid}." in refused(supervised)
    supervised.home.run.rename(supervised.home.root / "gone")
    for left in (supervised.home.root / "gone").iterdir():
        left.unlink()
    assert f"process {supervised.running.pid}." in refused(supervised)
    assert is_alive(pid)


def test_what_a_killed_supervisor_left_is_ended_first(supervised: Supervised) -> None:
    stubborn = "trap '' TERM\n(setsid sh -c 'echo $$ >>child.log; exec sleep 1000' &)\n"
    supervised.process("web", f'cd "$SUREFOOT_HOME"\n{stubborn}while :; do sleep 0.1; done')
    start(supervised, "unix:web.sock", auto=True)
    left = supervised.pids("web") + supervised.pids("child")
    left += [pid for pid in children(supervised.running.pid) if is_alive(pid)]
    kill(supervised)
    assert not control.is_running(supervised.home)
    assert all(is_alive(pid) for pid in left)
    supervised.process("web", FOREVER)
    start(supervised, "unix:web.sock")
    supervised.pids("web", 2)
    assert not any(is_alive(pid) for pid in left)
    assert "A supervisor was killed; what it left running is ended first." in supervised.messages()


def test_others_in_this_home_and_processes_of_other_homes_are_let_alone(
    supervised: Supervised,
) -> None:
    def bystander(**variables: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "1000"], env=dict(os.environ) | variables)

    home = str(supervised.home.root)
    bystanders = [
        bystander(SUREFOOT_HOME=home),
        bystander(SUREFOOT_HOME=f"{home}2", SUREFOOT_PROCESS="web"),
        bystander(SUREFOOT_MARK="1:other", SUREFOOT_PROCESS="web"),
    ]
    supervised.process("web", FOREVER)
    start(supervised)
    supervised.pids("web")
    assert [popen.poll() for popen in bystanders] == [None, None, None]
    for popen in bystanders:
        popen.terminate()
        popen.wait()


def test_a_run_folder_that_cannot_be_made_is_told_with_what_to_do(supervised: Supervised) -> None:
    supervised.home.run.write_text("a file is in the way")
    why = refused(supervised)
    assert f"supervisor.sh {supervised.home.root}" in why


def test_an_address_in_use_is_told_and_nothing_is_started(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert f"{address} cannot be listened on: Address already in use." in refused(
            supervised, address
        )
    assert supervised.log("web") == []


@pytest.mark.parametrize("address", ["256.1.1.1:80", "host.invalid:80", "unix:missing/web.sock"])
def test_an_address_that_does_not_exist_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=address):
        listening.listen(address, tmp_path)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_small_answers_do_not_wait_on_connections_of_a_held_socket(
    host: str, tmp_path: Path
) -> None:
    with (
        listening.listen(f"{host}:0", tmp_path) as held,
        socket.create_connection(held.getsockname()[:2]),
    ):
        held.setblocking(True)
        accepted, _ = held.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_socket_file_is_replaced_only_if_nobody_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = Path()
    first = listening.listen("unix:web.sock", here)
    with pytest.raises(RefusedError, match="Address already in use"):
        listening.listen("unix:web.sock", here)
    first.close()
    listening.listen("unix:web.sock", here).close()
    (here / "notes.txt").write_text("mine")
    with pytest.raises(RefusedError, match="Address already in use"):
        listening.listen("unix:notes.txt", here)
    assert (here / "notes.txt").read_text() == "mine"


def test_the_app_is_told_of_its_own_page_and_of_none_that_is_not_its(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_PAGE", "/somebody/elses.html")
    home = Home(tmp_path)
    assert "SUREFOOT_PAGE" not in launch._environment(home, Config())
    told = launch._environment(home, Config(gate=Gate(page="current/app/closed.html")))
    assert told["SUREFOOT_PAGE"] == str(tmp_path / "current/app/closed.html")


def test_the_app_is_told_which_paths_get_json(tmp_path: Path) -> None:
    told = launch._environment(Home(tmp_path), Config(gate=Gate(api=["/v1", "/graphql"])))
    assert told["SUREFOOT_API"] == "/v1 /graphql"
