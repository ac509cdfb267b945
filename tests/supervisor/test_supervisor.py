"""supervisor.sh, as its user sees it: processes, signals, exit codes, and the engine's goals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.supervisor.running import (
    SCRIPT,
    Supervised,
    children,
    descriptors,
    eventually,
    ignored_signals,
    is_alive,
    mode_of,
)

from surefoot import control

FOREVER = "exec sleep 1000"
IF_CHILD_LIVES = "grep -q '^State:.[^Z]' /proc/$(cat child.log)/status && echo both >>both.log\n"
TRAPPED = """\
trap 'echo {0} >>"$SUREFOOT_HOME/signals.log"' {0}
while :; do sleep 0.05; done"""


# --- the core, in every shell


def test_every_process_of_current_is_started_and_ended(in_each_shell: Supervised) -> None:
    in_each_shell.process("web", FOREVER)
    in_each_shell.process("mail-2", FOREVER)
    in_each_shell.start()
    pids = in_each_shell.pids("web") + in_each_shell.pids("mail-2")
    assert in_each_shell.end() == 143
    assert not any(is_alive(pid) for pid in pids)
    assert not in_each_shell.home.control.exists()


def test_a_crash_starts_only_that_process_again(in_each_shell: Supervised) -> None:
    in_each_shell.process("web", FOREVER)
    in_each_shell.process(
        "worker", 'if [ ! -e "$0.again" ]; then : >"$0.again"; exit 3; fi\n' + FOREVER
    )
    in_each_shell.start()
    in_each_shell.pids("worker", 2)
    in_each_shell.until_message("worker ended with 3.")
    assert len(in_each_shell.log("web")) == 1


def test_the_addresses_of_notifications_are_the_engines_alone(supervised: Supervised) -> None:
    supervised.settings["SUREFOOT_NOTIFY_URLS"] = "tgram://secret"
    told = 'echo "${SUREFOOT_NOTIFY_URLS-none}" >>"$SUREFOOT_HOME/told.log"\n'
    supervised.process("web", told.replace("told", "web-told") + FOREVER)
    supervised.engine("update", told)
    supervised.start()
    supervised.pids("web")
    supervised.send("update")
    eventually(lambda: supervised.log("told") == ["tgram://secret"], "the engine has them")
    assert supervised.log("web-told") == ["none"]


def test_an_app_that_ignores_term_is_killed_with_all_it_started(in_each_shell: Supervised) -> None:
    in_each_shell.settings["SUREFOOT_STOP_GRACE"] = "1"
    child = '(exec sh -c \'echo $$ >>"$SUREFOOT_HOME/child.log"; trap "" TERM; {}\') &\n'
    daemon = "setsid " + child.removeprefix("(exec ").replace(") &", " &")
    body = (child + daemon).format("while :; do sleep 1; done", "while :; do sleep 1; done")
    in_each_shell.process("web", f"trap '' TERM\n{body}while :; do sleep 1; done")
    in_each_shell.start()
    pids = in_each_shell.pids("web") + in_each_shell.pids("child", 2)
    assert in_each_shell.end() == 143
    eventually(lambda: not any(is_alive(pid) for pid in pids), "all are gone")
    assert "web does not end: it is killed" in in_each_shell.messages()


def test_the_engine_stops_and_starts_the_app(in_each_shell: Supervised) -> None:
    in_each_shell.process("web", FOREVER)
    in_each_shell.python_engine(
        "update",
        "processes.stop()\n"
        "Path('stopped.log').write_text(Path('web.log').read_text())\n"
        "processes.attempt()\n"
        "print(processes.wait(0), flush=True)\n"
        "processes.run()\n",
    )
    in_each_shell.start()
    first = in_each_shell.pids("web")[0]
    in_each_shell.send("update")
    second = in_each_shell.pids("web", 2)[1]
    assert in_each_shell.pids("stopped") == [first]
    assert not is_alive(first)
    assert is_alive(second)
    in_each_shell.until_message("[Exited(name='web', code=143)]")
    assert in_each_shell.log("engine") == ["update"]
    assert in_each_shell.end() == 143


def test_ten_asks_for_the_update_and_the_app_is_back(in_each_shell: Supervised) -> None:
    in_each_shell.process(
        "web", 'if [ ! -e "$0.again" ]; then : >"$0.again"; exit 10; fi\n' + FOREVER
    )
    in_each_shell.start()
    in_each_shell.pids("web", 2)
    in_each_shell.until("engine", "update")


def test_zero_from_every_process_ends_the_supervisor(in_each_shell: Supervised) -> None:
    in_each_shell.process("web", "exit 0")
    in_each_shell.process("worker", "sleep 0.3; exit 0")
    in_each_shell.start()
    assert in_each_shell.wait() == 0
    assert len(in_each_shell.log("web")) == 1


def test_as_pid_1_it_reaps_orphans_and_obeys_term(in_each_shell: Supervised) -> None:
    in_each_shell.process(
        "web",
        # The grandchild outlives its parent and ends while the app lives: somebody has to reap it.
        "(sleep 0.2 & exec sleep 0.1)\n(setsid sh -c 'sleep 0.3' &)\n"
        "(setsid sh -c 'echo >>\"$SUREFOOT_HOME/ready.log\"; exec sleep 1000' &)\n" + FOREVER,
    )
    namespace = [str(shutil.which("unshare")), "--pid", "--fork", "--mount-proc"]
    if os.geteuid() != 0:
        namespace[1:1] = ["--user", "--map-root-user"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make a PID namespace")
    in_each_shell.start(*namespace)
    eventually(lambda: bool(in_each_shell.log("ready")), "the app runs")
    [init] = children(in_each_shell.running.pid)
    eventually(lambda: "sleep 0.3" not in _below(init), "the orphan has ended")
    eventually(lambda: "defunct" not in _below(init), "no zombie remains")
    assert "sleep 1000" in _below(init)
    os.kill(init, signal.SIGTERM)
    assert in_each_shell.wait() == 143


def _below(pid: int) -> str:
    """The command lines of all below a process; a zombie has none."""
    told = ""
    for child in children(pid):
        try:
            line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        told += (line or f"{child} defunct") + "\n" + _below(child)
    return told


# --- processes


def test_back_off_grows_up_to_the_limit(supervised: Supervised) -> None:
    supervised.settings |= {"SUREFOOT_CRASH_DELAY": "1", "SUREFOOT_CRASH_DELAY_MAX": "2"}
    supervised.process("web", "exit 7")
    supervised.start()
    supervised.pids("web", 4)
    delays = [line for line in supervised.messages().splitlines() if "starts again" in line]
    assert [line.split()[-2] for line in delays[:3]] == ["1", "2", "2"]


def test_a_stable_run_resets_the_back_off(supervised: Supervised) -> None:
    supervised.settings |= {"SUREFOOT_STABLE_AFTER": "0"}
    supervised.process("web", "exit 7")
    supervised.start()
    supervised.pids("web", 3)
    assert "starts again in 1 s" in supervised.messages()
    assert "starts again in 2 s" not in supervised.messages()
    assert supervised.log("engine") == []


def test_after_three_crashes_in_a_row_the_engine_is_told(supervised: Supervised) -> None:
    supervised.settings |= {"SUREFOOT_CRASH_DELAY_MAX": "1"}
    supervised.process("web", "exit 7")
    supervised.start()
    supervised.pids("web", 4)
    assert supervised.log("engine") == ["crashed"]


@pytest.mark.parametrize("escape", ["", "env -i", "setsid"])
def test_what_a_crashed_process_left_is_gone_before_it_starts_again(
    supervised: Supervised, escape: str
) -> None:
    supervised.process(
        "web",
        'cd "$SUREFOOT_HOME"; if [ ! -e again ]; then : >again\n'
        f"{escape} sh -c 'echo $$ >>child.log; exec sleep 1000' &\n"
        "until [ -s child.log ]; do sleep 0.02; done; exit 3; fi\n" + IF_CHILD_LIVES + FOREVER,
    )
    supervised.start()
    supervised.pids("web", 2)
    assert not is_alive(supervised.pids("child")[0])
    assert supervised.log("both") == []


@pytest.mark.parametrize("name", ["HUP", "QUIT", "USR1", "USR2"])
def test_other_signals_reach_the_app(supervised: Supervised, name: str) -> None:
    supervised.process("web", TRAPPED.format(name))
    supervised.start()
    pid = supervised.pids("web")[0]
    eventually(lambda: "sleep" in _below(pid), "the trap is set")
    supervised.signal(signal.Signals[f"SIG{name}"])
    supervised.until("signals", name)
    assert is_alive(pid)


def test_interrupt_ends_the_app_by_term(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.start()
    pid = supervised.pids("web")[0]
    supervised.signal(signal.SIGINT)
    assert supervised.wait() == 130
    assert not is_alive(pid)


def test_the_app_gets_the_signals_as_the_system_sets_them(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.start()
    pid = supervised.pids("web")[0]
    eventually(lambda: "sleep" in Path(f"/proc/{pid}/comm").read_text(), "the process is itself")
    assert ignored_signals(pid) == set()


def test_a_second_term_kills_at_once(supervised: Supervised) -> None:
    supervised.settings["SUREFOOT_STOP_GRACE"] = "1000"
    supervised.process("web", f"trap '' TERM\n{TRAPPED.format('USR1')}")
    supervised.start()
    pid = supervised.pids("web")[0]
    eventually(lambda: "sleep" in _below(pid), "the trap is set")
    supervised.signal(signal.SIGTERM)
    eventually(lambda: "TERM" not in _pending(supervised.running.pid), "the first is taken")
    supervised.signal(signal.SIGTERM)
    assert supervised.wait() == 143
    assert not is_alive(pid)


def _pending(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pending = int(next(line for line in lines if line.startswith("ShdPnd")).split()[1], 16)
    return "TERM" if pending >> (signal.SIGTERM - 1) & 1 else ""


def test_a_process_has_the_sockets_and_none_of_the_pipes(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.start()
    pid = supervised.pids("web")[0]
    eventually(lambda: "sleep" in Path(f"/proc/{pid}/comm").read_text(), "the process is itself")
    assert not descriptors(pid) & {7, 8, 9}


def test_hundreds_of_messages_at_once_are_all_read(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.engine("update", 'while :; do hear >>"$SUREFOOT_HOME/heard.log"; done')
    supervised.start()
    supervised.pids("web")
    supervised.send("update")
    supervised.until("engine", "update")
    for _ in range(300):
        supervised.send("update")
    eventually(lambda: len(supervised.log("heard")) == 300, "300 requests are heard")


def test_lines_that_mean_nothing_do_no_harm(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.start()
    pid = supervised.pids("web")[0]
    for line in (
        "",
        "exit",
        "exit 77 1",
        "restart 1",
        "timeout stop 0",
        "pid $(touch hurt) 1",
        "*",
    ):
        supervised.send(line)
    supervised.send("update")
    supervised.until("engine", "update")
    assert is_alive(pid)
    assert not (supervised.home.root / "hurt").exists()


def test_the_supervisor_needs_less_than_two_megabytes(supervised: Supervised) -> None:
    if Path("/bin/sh").resolve().name != "dash":
        pytest.skip("the promise is about dash")
    supervised.process("web", FOREVER)
    supervised.start()
    supervised.pids("web")
    status = Path(f"/proc/{supervised.running.pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 2048  # kB, shared pages counted in full


# --- the engine


def test_with_a_lock_the_engine_comes_before_the_app(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.lock("snapshotted")
    supervised.engine("resume", "cat web.log >>early.log 2>/dev/null; rm data/UPDATE_LOCK.json")
    supervised.start()
    supervised.pids("web")
    assert supervised.log("engine") == ["resume"]
    assert supervised.log("early") == []


def test_without_a_release_the_engine_installs_one(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    (supervised.home.root / "current").rename(supervised.home.root / "releases")
    supervised.engine("update", "ln -s releases current")
    supervised.start()
    supervised.pids("web")
    assert supervised.log("engine") == ["update"]


def test_an_install_that_fails_is_tried_again(supervised: Supervised) -> None:
    supervised.engine("update", "exit 6")
    supervised.start()
    supervised.until("engine", "update", "update")
    assert "The engine ended with 6" in supervised.messages()


def test_an_engine_that_was_killed_resumes(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.lock("migrated")
    supervised.engine(
        "resume",
        'if [ "$(wc -l <engine.log)" -lt 3 ]; then sleep 1000 & kill -9 $$; fi\n'
        "say try; hear >>told.log; rm data/UPDATE_LOCK.json; say run; hear >>told.log",
    )
    supervised.start()
    supervised.until("told", "started", "started")
    assert supervised.log("engine") == ["resume"] * 3
    assert len(supervised.pids("web")) == 1


def test_what_a_killed_engine_left_is_gone_before_the_next(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.lock("snapshotted")
    supervised.engine(
        "resume",
        "if [ -e child.log ]; then\n" + IF_CHILD_LIVES + "rm data/UPDATE_LOCK.json; exit 0; fi\n"
        "setsid sh -c 'echo $$ >child.log; exec sleep 1000' &\n"
        "until [ -s child.log ]; do sleep 0.02; done; kill -9 $$",
    )
    supervised.start()
    supervised.pids("web")
    assert supervised.log("engine") == ["resume", "resume"]
    assert supervised.log("both") == []


def test_under_try_what_ends_is_told_and_not_started_again(supervised: Supervised) -> None:
    supervised.process("web", "exit 5")
    supervised.lock("switched")
    supervised.engine(
        "resume", "say try; hear >>told.log; hear >>told.log; hear >>told.log; sleep 1000"
    )
    supervised.start()
    supervised.until("told", "started", "exit web 5")
    supervised.send("update")
    supervised.until("told", "started", "exit web 5", "request")
    assert "web starts again" not in supervised.messages()


def test_under_hold_the_app_may_end_itself(supervised: Supervised) -> None:
    supervised.process(
        "web", 'until [ -e "$SUREFOOT_HOME/held.log" ]; do sleep 0.02; done; exit 10'
    )
    supervised.python_engine(
        "update",
        "processes.hold()\n"
        "Path('held.log').touch()\n"
        "events = processes.wait(60)\n"
        "processes.stop()\n"
        "Path('told.log').write_text(f'{events}\\n')\n"
        "Path('current/processes/web').write_text('#!/bin/sh\\n"
        'echo $$ >>"$SUREFOOT_HOME/web.log"; exec sleep 1000\')\n'
        "processes.run()\n",
    )
    supervised.start()
    supervised.pids("web")
    supervised.send("update")
    supervised.until("told", "[Exited(name='web', code=10)]")
    supervised.pids("web", 2)
    assert supervised.log("engine") == ["update"]


def test_a_request_reaches_the_engine_that_is_there(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.engine("update", "hear >>told.log; hear >>told.log")
    supervised.start()
    supervised.send("update")
    supervised.until("engine", "update")
    supervised.send("update")
    supervised.until("told", "request")
    supervised.send("update")
    supervised.until("told", "request", "request")
    assert supervised.log("engine") == ["update"]


def test_a_request_that_came_too_late_is_not_forgotten(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.engine("update", "hear >>told.log; [ -e again ] && rm run/request.json; : >again")
    supervised.start()
    supervised.send("update")
    supervised.until("engine", "update")
    supervised.home.request.write_text("{}")
    supervised.send("update")
    supervised.until("engine", "update", "update")


def test_an_engine_does_not_hear_what_was_said_to_the_one_before(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.engine("update", "if [ -e again ]; then hear >>told.log; else : >again; say run; fi")
    supervised.start()

    def is_second() -> bool:
        supervised.send("update")
        return len(supervised.log("engine")) == 2

    eventually(is_second, "a second engine")
    supervised.send("update")
    supervised.until("told", "request")


def test_the_engine_has_the_pipes_and_not_the_lock(in_each_shell: Supervised) -> None:
    in_each_shell.process("web", FOREVER)
    in_each_shell.engine("update", "echo $$ >>pid.log; hear")
    in_each_shell.start()
    in_each_shell.send("update")
    held = descriptors(in_each_shell.pids("pid")[0])
    assert {7, 8} <= held
    assert 9 not in held


def test_an_update_that_is_broken_starts_nothing(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.lock("broken")
    supervised.engine("resume", "exit 8")
    supervised.start()
    supervised.until_message("THE UPDATE IS BROKEN")
    supervised.send("update")
    supervised.until("engine", "resume", "update")
    assert supervised.log("web") == []
    assert supervised.end() == 143


def test_the_timer_looks_for_updates(supervised: Supervised) -> None:
    supervised.settings["SUREFOOT_CHECK_INTERVAL"] = "1"
    supervised.process("web", FOREVER)
    supervised.start()
    supervised.until("engine", "update --auto", "update --auto")


@pytest.mark.parametrize("state", [None, "requested", "staged"])
def test_without_an_engine_an_app_that_is_whole_runs(
    supervised: Supervised, state: str | None
) -> None:
    supervised.process("web", FOREVER)
    if state is not None:
        supervised.lock(state)
    (supervised.home.root / "python").unlink()
    supervised.start()
    supervised.pids("web")
    supervised.send("update")
    supervised.until_message("cannot be started: no updates until it can")


@pytest.mark.parametrize("state", ["stopped", "migrated", "rolling_back"])
def test_without_an_engine_data_that_is_half_way_is_protected(
    supervised: Supervised, state: str
) -> None:
    supervised.process("web", FOREVER)
    supervised.lock(state)
    (supervised.home.root / "python").rename(supervised.home.root / "away")
    supervised.start()
    supervised.until_message("the app is NOT started, to protect its data")
    assert supervised.log("web") == []
    supervised.engine("resume", "rm data/UPDATE_LOCK.json")
    (supervised.home.root / "away").rename(supervised.home.root / "python")
    supervised.pids("web")


def test_an_engine_that_hangs_is_ended_with_all_it_started(supervised: Supervised) -> None:
    supervised.settings["SUREFOOT_STOP_GRACE"] = "1"
    supervised.process("web", FOREVER)
    supervised.engine(
        "update",
        "trap '' TERM\n"
        "setsid sh -c 'trap \"\" TERM; echo $$ >>child.log; sleep 1000; sleep 1000' &\n"
        "echo $$ >>child.log; while :; do sleep 1; done",
    )
    supervised.start()
    supervised.send("update")
    pids = supervised.pids("child", 2)
    assert supervised.end() == 143
    eventually(lambda: not any(is_alive(pid) for pid in pids), "all are gone")
    assert "The engine does not end" in supervised.messages()


def test_once_all_is_to_end_no_wish_of_the_engine_counts(supervised: Supervised) -> None:
    supervised.process("web", FOREVER)
    supervised.engine(
        "update", "trap 'say stop; say run; exit' TERM\n: >>ready.log; while :; do sleep 0.1; done"
    )
    supervised.start()
    supervised.send("update")
    eventually((supervised.home.root / "ready.log").exists, "the engine runs")
    assert supervised.end() == 143
    assert len(supervised.log("web")) == 1


# --- by hand


def test_a_second_supervisor_is_refused(supervised: Supervised) -> None:
    if shutil.which("flock") is None:
        pytest.skip("without flock(1) a supervisor that is started by hand cannot know")
    supervised.process("web", FOREVER)
    supervised.start()
    supervised.pids("web")
    second = subprocess.run(
        ["sh", SCRIPT, supervised.home.root], capture_output=True, text=True, check=False
    )
    assert second.returncode == 4
    assert f"process {supervised.running.pid}" in second.stderr
    assert control.is_running(supervised.home)
    assert mode_of(supervised.home.run) == 0o700
    assert mode_of(supervised.home.control) == 0o600


def test_without_a_home_it_says_what_is_missing() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "SUREFOOT_HOME"}
    ended = subprocess.run(
        ["sh", SCRIPT], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == 2
    assert "sh supervisor.sh HOME" in ended.stderr


def test_a_run_folder_that_cannot_be_written_does_not_keep_the_app_down(
    supervised: Supervised,
) -> None:
    supervised.process("web", FOREVER)
    supervised.home.run.write_text("a file is in the way")
    supervised.home.run.chmod(0o400)
    if os.access(supervised.home.run, os.W_OK):
        supervised.home.run.unlink()
        supervised.home.run.symlink_to("/proc/self")  # where not even root can make a file
    supervised.start()
    pid = supervised.pids("web")[0]
    assert "no command can reach me" in supervised.messages()
    assert supervised.end() == 143
    assert not is_alive(pid)


def test_a_home_whose_run_folder_vanishes_goes_on(supervised: Supervised) -> None:
    supervised.process(
        "web", 'if [ ! -e "$0.again" ]; then : >"$0.again"; sleep 1; exit 3; fi\n' + FOREVER
    )
    supervised.start()
    supervised.pids("web")
    shutil.rmtree(supervised.home.run)
    supervised.pids("web", 2)
    assert supervised.end() == 143


# --- a release beside the app

BESIDE = """\
echo $$ >>"$SUREFOOT_HOME/beside.log"
echo "${SUREFOOT_PRIVATE-} ${LISTEN_FDS-none}" >"$SUREFOOT_HOME/place.log"
"""


def test_what_runs_beside_becomes_the_app(in_each_shell: Supervised) -> None:
    in_each_shell.settings["LISTEN_FDS"] = "1"
    in_each_shell.process("web", FOREVER)
    in_each_shell.script("releases/abc123/processes/web", BESIDE + FOREVER)
    in_each_shell.python_engine(
        "update",
        "processes.beside('abc123')\n"
        "while not Path('go').exists(): processes.wait(0.1)\n"
        "processes.adopt()\nprocesses.run()\n",
    )
    in_each_shell.start()
    old = in_each_shell.pids("web")[0]
    in_each_shell.send("update")
    new = in_each_shell.pids("beside")[0]
    in_each_shell.until("place", f"{in_each_shell.home.run}/private none")
    assert is_alive(old)
    (in_each_shell.home.root / "go").touch()
    eventually(lambda: not is_alive(old), "the old one has ended")
    assert is_alive(new)
    os.kill(new, signal.SIGKILL)  # from now on it is the app like any other
    assert is_alive(in_each_shell.pids("web", 2)[1])
    assert in_each_shell.end() == 143
    assert len(in_each_shell.log("beside")) == 1


def test_what_is_tried_in_private_has_no_public_address_and_is_the_app(
    in_each_shell: Supervised,
) -> None:
    in_each_shell.settings["LISTEN_FDS"] = "1"
    in_each_shell.process(
        "web", f'echo "${{SUREFOOT_PRIVATE-none}} ${{LISTEN_FDS-none}}" >place.log\n{FOREVER}'
    )
    in_each_shell.python_engine(
        "update",
        "processes.stop()\nprocesses.attempt(in_private=True)\n"
        "while not Path('go').exists(): processes.wait(0.1)\nprocesses.run()\n"
        "Path('gone').touch()\n",
    )
    in_each_shell.start()
    first = in_each_shell.pids("web")[0]
    in_each_shell.until("place", "none 1")
    in_each_shell.send("update")
    tried = in_each_shell.pids("web", 2)[1]
    in_each_shell.until("place", f"{in_each_shell.home.run}/private none")
    assert not is_alive(first)
    (in_each_shell.home.root / "go").touch()
    eventually((in_each_shell.home.root / "gone").exists, "it has become the app")
    os.kill(tried, signal.SIGKILL)  # from now on it is the app like any other
    in_each_shell.pids("web", 3)
    eventually(lambda: in_each_shell.log("place") == ["none 1"], "it is public again")
    assert in_each_shell.end() == 143


def test_an_old_one_that_does_not_end_is_killed_and_the_new_one_is_not(
    supervised: Supervised,
) -> None:
    supervised.settings["SUREFOOT_STOP_GRACE"] = "1"
    supervised.process("web", "trap '' TERM\nwhile :; do sleep 0.1; done")
    supervised.script("releases/abc123/processes/web", BESIDE + FOREVER)
    supervised.python_engine("update", "processes.beside('abc123')\nprocesses.adopt()\n")
    supervised.start()
    old = supervised.pids("web")[0]
    supervised.send("update")
    new = supervised.pids("beside")[0]
    eventually(lambda: not is_alive(old), "the old one has ended")
    assert is_alive(new)
    supervised.send("update")  # and once more, in the place of what was old
    newest = supervised.pids("beside", 2)[1]
    eventually(lambda: not is_alive(new), "the second has ended")
    assert is_alive(newest)
    assert supervised.end() == 143
    assert not is_alive(newest)


def test_what_runs_beside_ends_without_a_word_of_the_app(in_each_shell: Supervised) -> None:
    in_each_shell.process("web", FOREVER)
    in_each_shell.script("releases/abc123/processes/web", BESIDE + "exit 3")
    in_each_shell.python_engine(
        "update",
        "processes.beside('abc123')\nprint(processes.wait(20), flush=True)\nprocesses.run()\n",
    )
    in_each_shell.start()
    app = in_each_shell.pids("web")[0]
    in_each_shell.send("update")
    in_each_shell.until_message("[Exited(name='beside', code=3)]")
    assert in_each_shell.end() == 143
    assert in_each_shell.log("web") == [str(app)]
    assert len(in_each_shell.log("beside")) == 1


@pytest.mark.parametrize("state", ["staged", "proven"])
def test_what_a_dead_engine_has_left_beside_ends(supervised: Supervised, state: str) -> None:
    supervised.process("web", FOREVER)
    supervised.script("releases/abc123/processes/web", BESIDE + FOREVER)
    supervised.python_engine(
        "update",
        f"Path('data').mkdir()\nPath('data/UPDATE_LOCK.json').write_text('{{\"state\":\"{state}\"}}')"
        "\nprocesses.beside('abc123')\nimport os\nos.kill(os.getpid(), 9)\n",
    )
    supervised.python_engine("resume", "Path('data/UPDATE_LOCK.json').unlink()\nprocesses.run()\n")
    supervised.start()
    app = supervised.pids("web")[0]
    supervised.send("update")
    left = supervised.pids("beside")[0]
    eventually(lambda: not is_alive(left), "the second copy has ended")
    assert is_alive(app)
