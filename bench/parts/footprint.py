"""What it costs while nothing happens: memory, CPU and wake-ups; and the disk of a kept release.

Each supervisor runs one process that sleeps; what is measured is the supervisor and all that it
has started beside that. Memory is the proportional set size: pages that are shared with others
count in part.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tiny import free_port

from bench.contenders import CONTENDERS, LIMIT
from bench.contenders.base import MARK, PATIENCE_S, FailedError
from bench.contenders.surefoot import Overlap
from bench.effort import Effort
from bench.results import Figures
from bench.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bench.contenders import Contender
    from bench.results import Row

OVER_S, OVER_QUICK_S = 30.0, 5.0
SETTLE_S = 5.0
MB = 1024 * 1024
SERVE = "surefoot_serve"
"""The dashboard, which nobody needs to run."""
SLEEP = ("sleep", "86400")


def measure(folder: Path, *, effort: Effort, only: Sequence[str] = ()) -> list[Row]:
    folder.mkdir(parents=True)
    figures = Figures()
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(_running(command, folder, name))
            for name, command in _idlers(folder).items()
            if not only or name in only
        }
        time.sleep(SETTLE_S)
        _watch(running, OVER_QUICK_S if effort is Effort.QUICK else OVER_S, figures)
    print("  idle", flush=True)
    _measure_disk(folder, figures, only)
    return figures.rows()


# -- idle


def _idlers(folder: Path) -> dict[str, list[str]]:
    """What each is started with; those that are not installed are left out."""
    bin_folder = Path(sys.executable).parent
    (folder / "published.sh").write_text(
        "#!/bin/bash\nwhile true; do\n    "
        f'{" ".join(SLEEP)} &\n    wait "$!"\n    [ "$?" = 10 ] || sleep 1\ndone\n'
    )
    (folder / "supervisord.conf").write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={folder}/supervisord.out\n"
        f"pidfile={folder}/supervisord.pid\n"
        f"[unix_http_server]\nfile={folder}/supervisor.sock\n"
        "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = "
        "supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[program:app]\ncommand={' '.join(SLEEP)}\n"
    )
    (folder / "circus.ini").write_text(
        f"[circus]\nendpoint = ipc://{folder}/endpoint\npubsub_endpoint = ipc://{folder}/pubsub\n"
        f"[watcher:app]\ncmd = {' '.join(SLEEP)}\ncopy_env = True\n"
    )
    service = folder / "s6" / "app"
    service.mkdir(parents=True)
    (service / "run").write_text(f"#!/bin/sh\nexec {' '.join(SLEEP)}\n")
    (service / "run").chmod(0o755)
    home = _home(folder)
    surefoot = [sys.executable, "-m", "surefoot"]
    found = {
        "surefoot": [*surefoot, "run", "--home", str(home)],
        SERVE: [*surefoot, "serve", "--home", str(home), "--listen", f"127.0.0.1:{free_port()}"],
        "published": ["bash", str(folder / "published.sh")],
        "supervisord": [str(bin_folder / "supervisord"), "-c", str(folder / "supervisord.conf")],
        "circus": [str(bin_folder / "circusd"), str(folder / "circus.ini")],
        "s6": ["s6-svscan", str(folder / "s6")],
    }
    return {name: command for name, command in found.items() if shutil.which(command[0])}


def _home(folder: Path) -> Path:
    """A repository whose app sleeps, and a home that follows it."""
    repository = folder / "sleeper"
    who = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org")
    for command in (
        ("init", "--quiet", "-b", "main", str(repository)),
        ("-C", str(repository), *who, "commit", "--quiet", "--allow-empty", "-m", "first"),
    ):
        subprocess.run(["git", *command], check=True)
    home = folder / "home"
    home.mkdir()
    (home / "surefoot.toml").write_text(
        f'[app]\ncommand = "{" ".join(SLEEP)}"\n[source]\ngit = "{repository}"\nbranch = "main"\n'
        '[build]\ndependencies = "none"\n[health]\nwatch = 0.1\n'
    )
    return home


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, name: str) -> Iterator[Tree]:
    foreign = ("SUREFOOT_", "UPDATE_", "AUTO_UPDATE_", "LISTEN_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=kept | {MARK: f"{folder}/{name}"}, cwd=folder, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    tree = Tree(f"{MARK}={folder}/{name}".encode())
    try:
        end_s = time.monotonic() + PATIENCE_S
        while not tree.is_idle():
            if time.monotonic() > end_s or process.poll() is not None:
                raise FailedError((folder / f"{name}.log").read_text())
            time.sleep(0.1)
        yield tree
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        tree.kill()
        process.wait()


@dataclass(frozen=True)
class Tree:
    """All processes that bear a mark in their environment."""

    mark: bytes

    def pids(self) -> dict[int, bytes]:
        """With their command lines."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes()
        return found

    def is_idle(self) -> bool:
        """The app runs, where there is one, and no engine."""
        lines = self.pids().values()
        return self._has_app(lines) and not any(b"\0engine\0" in line for line in lines)

    def _has_app(self, lines: Iterable[bytes]) -> bool:
        is_alone = self.mark.endswith(SERVE.encode())
        return is_alone or any(line.startswith(b"sleep\x0086400") for line in lines)

    def supervisor(self) -> list[int]:
        return [pid for pid, line in self.pids().items() if not line.startswith(b"sleep\x0086400")]

    def kill(self) -> None:
        while found := self.pids():
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            time.sleep(0.05)


def _watch(running: dict[str, Tree], over_s: float, figures: Figures) -> None:
    """All of them at the same time: none of them does anything."""
    pids = {name: tree.supervisor() for name, tree in running.items()}
    before = {name: [_used(pid) for pid in found] for name, found in pids.items()}
    began_s = time.monotonic()
    time.sleep(over_s)
    hours = (time.monotonic() - began_s) / 3600
    for name, found in pids.items():
        after = [_used(pid) for pid in found]
        cpu_s = sum(b[0] - a[0] for a, b in zip(before[name], after, strict=True))
        wakes = sum(b[1] - a[1] for a, b in zip(before[name], after, strict=True))
        figures.add(name, "idle", "memory_pss", "MB", sum(map(_pss, found)) / MB)
        figures.add(name, "idle", "cpu_per_hour", "s", cpu_s / hours)
        figures.add(name, "idle", "wakeups_per_hour", "wakeups", wakes / hours)
        figures.add(name, "idle", "processes", "processes", len(found))


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _used(pid: int) -> tuple[float, int]:
    """CPU seconds, and how often a thread has begun to run."""
    cpu_s, wakes = 0.0, 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        cpu_s += int((task / "schedstat").read_text().split()[0]) / 1e9
        for line in (task / "status").read_text().splitlines():
            if "ctxt_switches" in line:
                wakes += int(line.split()[1])
    return cpu_s, wakes


# -- disk


def _measure_disk(folder: Path, figures: Figures, only: Sequence[str]) -> None:
    """How much a home grows with each release that is kept."""
    source = Source(folder / "source")
    contenders = [
        kind(folder / f"disk-{kind.name}", source)
        for kind in CONTENDERS
        if kind not in {LIMIT, Overlap} and (not only or kind.name in only)
    ]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(CONTENDERS)) as pool:
        for contender in contenders:
            stack.callback(contender.stop)
        list(pool.map(lambda each: _begin(each, source), contenders))
        for scenario, release in (("code", source.code), ("dependency", source.dependency)):
            version = source.version(release())
            grown = pool.map(lambda each, to=version: _grown(each, to), contenders)
            for contender, size in zip(contenders, grown, strict=True):
                what = f"kept release, {scenario}"
                figures.add(contender.name, what, "disk", "MB", size / MB)
    print("  disk", flush=True)


def _begin(contender: Contender, source: Source) -> None:
    contender.install()
    contender.start()
    contender.wait_for(source.version(source.latest))
    contender.settle()


def _grown(contender: Contender, version: str) -> int:
    """By how many bytes an update to that version makes it larger."""
    before = _weight(contender)
    contender.update()
    contender.wait_for(version)
    contender.settle()
    return _weight(contender) - before


def _weight(contender: Contender) -> int:
    """On the disk, each file once, without the database."""
    seen: dict[tuple[int, int], int] = {}
    for path in contender.folder.rglob("*"):
        found = path.lstat()
        if not path.name.startswith("notes.db"):
            seen[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(seen.values())
