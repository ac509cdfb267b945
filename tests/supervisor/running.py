"""A real supervisor in a home made for the test, with processes and an engine that are scripts."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot import leftovers
from surefoot.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT = Path(leftovers.__file__).with_name("supervisor.sh")
PATIENCE_S = 40.0
"""How long something may take that comes at once on an idle machine."""

ENGINE = """\
#!/bin/sh
shift 4
echo "$*" >>"$SUREFOOT_HOME/engine.log"
if [ -x "$SUREFOOT_HOME/on-$1" ]; then exec "$SUREFOOT_HOME/on-$1" "$@"; fi
"""


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"never: {what}")
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """A zombie is not alive."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in {"Z", "X"}


@dataclass
class Supervised:
    """The home, and the supervisor in it once it is started."""

    home: Home
    shell: list[str]
    settings: dict[str, str] = field(default_factory=dict)
    popen: subprocess.Popen[bytes] | None = None

    def script(self, name: str, text: str) -> Path:
        """Takes the place of the one before by a rename, as a release does."""
        path = self.home.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        new.chmod(0o755)
        new.rename(path)
        return path

    def process(self, name: str, body: str) -> None:
        """The script of a process of `current`; each start leaves its pid in <name>.log."""
        self.script(
            f"current/processes/{name}",
            f'export SUREFOOT_PROCESS={name}\necho $$ >>"$SUREFOOT_HOME/{name}.log"\n{body}',
        )

    def engine(self, command: str, body: str) -> None:
        """What the engine does when it is started with that command. It may speak with
        `say LINE` and `hear`, which prints the next line it is told."""
        speech = 'say() { echo "$*" >&7; }\nhear() { read -r line <&8; echo "$line"; }\n'
        self.script(f"on-{command}", speech + body)

    def python_engine(self, command: str, body: str) -> None:
        """The same in Python, with `processes` at hand."""
        self.script(
            f"on-{command}",
            f"#!{sys.executable}\nfrom surefoot.control import *\n"
            f"from pathlib import Path\nprocesses = Processes()\n{body}\n",
        )

    def lock(self, state: str | None) -> None:
        self.home.data.mkdir(exist_ok=True)
        if state is None:
            self.home.lock.unlink()
        else:
            self.home.lock.write_text(f'{{"schema":1,"state":"{state}","to":"b"}}')

    def start(self, *prefix: str) -> Supervised:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SUREFOOT_")}
        environment |= {"SUREFOOT_PYTHON": str(self.home.root / "python")} | self.settings
        with (self.home.root / "messages").open("ab") as messages:
            self.popen = subprocess.Popen(
                [
                    *prefix,
                    str(shutil.which(self.shell[0])),
                    *self.shell[1:],
                    SCRIPT,
                    self.home.root,
                ],
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                env=environment,
                start_new_session=True,
            )
        return self

    @property
    def running(self) -> subprocess.Popen[bytes]:
        assert self.popen is not None
        return self.popen

    def signal(self, number: signal.Signals) -> None:
        self.running.send_signal(number)

    def send(self, line: str) -> None:
        """As a client does; the pipe may not be there yet."""
        eventually(self.home.control.is_fifo, "there is a control pipe")
        with self.home.control.open("w") as pipe:
            pipe.write(f"{line}\n")

    def wait(self) -> int:
        return self.running.wait(PATIENCE_S)

    def end(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def log(self, name: str) -> list[str]:
        path = self.home.root / f"{name}.log"
        return path.read_text().splitlines() if path.exists() else []

    def messages(self) -> str:
        return (self.home.root / "messages").read_text()

    def pids(self, name: str, count: int = 1) -> list[int]:
        """Waits for that many lines in <name>.log."""
        eventually(lambda: len(self.log(name)) >= count, f"{count} lines in {name}.log")
        return [int(line) for line in self.log(name)]

    def until(self, name: str, *lines: str) -> None:
        """Waits until <name>.log begins with these lines."""
        wanted = list(lines)
        eventually(lambda: self.log(name)[: len(wanted)] == wanted, f"{name}.log is {wanted}")

    def until_message(self, text: str) -> None:
        eventually(lambda: text in self.messages(), f"a message: {text}")

    def clean_up(self) -> None:
        if self.popen is not None and self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()
        leftovers.end(self.home, grace_s=0.1)


def make(folder: Path, shell: str = "sh") -> Supervised:
    """A home with an engine that only writes down that it was called."""
    home = Home(folder.resolve() / "home with space")
    home.root.mkdir()
    settings = {"SUREFOOT_STOP_GRACE": "3", "SUREFOOT_STABLE_AFTER": "600"}
    supervised = Supervised(home, shell.split(), settings)
    supervised.script("python", ENGINE)
    return supervised


def install_busybox(folder: Path) -> str:
    """A PATH with busybox's tools first, and without others of the same name."""
    folder.mkdir()
    subprocess.run(["busybox", "--install", "-s", str(folder)], check=True)
    return str(folder)


def is_installed(shell: str) -> bool:
    return shutil.which(shell.split()[0]) is not None


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid: int) -> set[int]:
    return {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def ignored_signals(pid: int) -> set[int]:
    """Of the standard ones. 32 and 33 are the C library's own, and now and then it ignores one."""
    text = Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0]
    return {number for number in range(1, 32) if int(text, 16) >> (number - 1) & 1}
