"""A service manager that is at its best: stands in for systemd, where there is none.

`python -m bench.service FOLDER COMMAND...` runs the command in FOLDER, and again 0.1 seconds after
a crash (systemd's default); up to five times in ten seconds, then it gives up, as systemd does.
SIGHUP restarts it (SIGTERM, and SIGKILL after ten seconds); SIGTERM ends it. `service.pid` in the
current folder is this process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PAUSE_S = 0.1
GRACE_S = 10
BURST, BURST_S = 5, 10.0
PID_FILE = Path("service.pid")


def main() -> None:
    folder, command = sys.argv[1], sys.argv[2:]
    wanted = {signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    PID_FILE.write_text(f"{os.getpid()}\n")
    starts: list[float] = []
    running = start(folder, command)
    while True:
        match signal.sigwait(wanted):
            case signal.SIGTERM:
                stop(running)
                return
            case signal.SIGHUP:
                stop(running)
                starts.clear()
                running = start(folder, command)
            case _ if running.poll() is not None:
                starts = [at_s for at_s in starts if at_s > time.monotonic() - BURST_S]
                if len(starts) < BURST:
                    time.sleep(PAUSE_S)
                    starts.append(time.monotonic())
                    running = start(folder, command)


def start(folder: str, command: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own, with no signal blocked."""
    return subprocess.Popen(
        command,
        cwd=folder,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),
    )


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
