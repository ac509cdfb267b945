"""What it costs to make a release ready: seconds, CPU seconds and bytes over the wire.

Beside it, what is done without an updater that keeps anything: a fresh clone and a fresh
environment, by pip and by uv. Each has caches of its own, warm from the release before.
The app does nothing and starts at once, so that what is measured is making the release ready.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contenders.base import PATIENCE_S, FailedError
from bench.results import Figures
from bench.wire import Wire
from surefoot.demo import wheels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.effort import Effort
    from bench.results import Row

BASE_PACKAGES = 20
MODULES, MODULE_LINES = 12, 60
FILE_BYTES = 2_000
_CONFIGURATION = """\
[app]
command = "sleep 86400"

[source]
git = "{git}"
branch = "main"

[keep]
releases = {keep}

[health]
window = 0.05
watch = 0.1
deadline = 20

[update]
rehearse = 0
"""


class Repository:
    """A work tree that is pushed to a bare repository, and the packages that it asks for."""

    def __init__(self, folder: Path, name: str, packages: Packages, *, files: int) -> None:
        self.name = f"{name}.git"
        self.packages = packages
        self.wanted = list(packages.pins[:BASE_PACKAGES])
        self.work = folder / "work" / name
        self.work.mkdir(parents=True)
        bare = folder / "repositories" / self.name
        self._git("init", "--quiet", "--bare", "-b", "main", str(bare))
        self._git("init", "--quiet", "-b", "main")
        self._git("remote", "add", "origin", str(bare))
        for number in range(files):
            path = self.work / "package" / f"part_{number % 50}" / f"module_{number}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_python(number, FILE_BYTES // 40))
        self._changes = 0
        self.commit()

    def commit(self, *, push: bool = True) -> None:
        """One changed line of code, and what is wanted now."""
        self._changes += 1
        (self.work / "main.py").write_text(f"change = {self._changes}\n")
        (self.work / "requirements.txt").write_text("".join(self.wanted))
        self._git("add", "--all")
        self._git("commit", "--quiet", "-m", f"change {self._changes}")
        if push:
            self.push()

    def push(self) -> None:
        self._git("push", "--quiet", "origin", "main")

    def want(self, count: int) -> None:
        """So many more packages from the next commit on."""
        self.wanted += self.packages.take(count)

    def _git(self, *arguments: str) -> None:
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER")
               for key, value in (("NAME", "Bench"), ("EMAIL", "bench@example.org"))}  # fmt: skip
        subprocess.run(
            ["git", *arguments],
            cwd=self.work,
            env=os.environ | who | {"GIT_CONFIG_GLOBAL": os.devnull},
            check=True,
            stdout=subprocess.DEVNULL,
        )


class Packages:
    """Wheels of a common size, each asked for once."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.pins = [self._make(number) for number in range(count)]
        self._taken = BASE_PACKAGES

    def take(self, count: int) -> list[str]:
        self._taken += count
        return self.pins[self._taken - count : self._taken]

    def _make(self, number: int) -> str:
        name, info = f"bench_{number:03}", f"bench_{number:03}-1.0.dist-info"
        content = {
            f"{name}/module_{module}.py": _python(number * MODULES + module, MODULE_LINES)
            for module in range(MODULES)
        }
        content[f"{name}/__init__.py"] = ""
        content[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        content[f"{info}/WHEEL"] = (
            "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        content[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in content)
        wheel = self.folder / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, text in content.items():
                archive.writestr(file, text)
        return wheels.pin(wheel)


def _python(seed: int, lines: int) -> str:
    """Code of no use that compiles, and that does not compress to nothing."""
    return "".join(
        f"def f_{n}(a, b={(seed * 7919 + n * 104729) % 999983}):\n"
        f"    return a * {(seed * 15485863 + n * 32452843) % 49979687} + b\n"
        for n in range(lines)
    )  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """What one release has cost."""

    seconds: float
    cpu_seconds: float
    wire_bytes: int


@dataclass
class Surefoot:
    """A running home, which is updated."""

    folder: Path
    git: str
    wire: Wire
    environment: dict[str, str]
    keep: int = 3

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.folder.mkdir()
        text = _CONFIGURATION.format(git=self.git, keep=self.keep)
        (self.folder / "surefoot.toml").write_text(text)
        with self.folder.with_suffix(".log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "surefoot", "run", "--home", str(self.folder)],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            end_s = time.monotonic() + PATIENCE_S
            while not (self.folder / "current").exists() or self._is_busy():
                if time.monotonic() > end_s or self._process.poll() is not None:
                    raise FailedError(self.folder.with_suffix(".log").read_text()[-3000:])
                time.sleep(0.05)
            yield
        finally:
            self._process.terminate()
            self._process.wait(60)

    def stage(self) -> Cost:
        bytes_before, cpu_before = self.wire.bytes, self._cpu_s()
        done = subprocess.run(
            [
                *(sys.executable, "-m", "surefoot", "update", "--wait", "--json"),
                *("--home", str(self.folder)),
            ],
            env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        if done.returncode:
            raise FailedError(f"surefoot update: {done.stdout}{done.stderr}")
        while self._is_busy():
            time.sleep(0.02)
        durations = json.loads(done.stdout)["durations"]
        return Cost(durations["stage"], self._cpu_s() - cpu_before, self.wire.bytes - bytes_before)

    def _is_busy(self) -> bool:
        """Whether the supervisor has a living child beside the app's: the engine."""
        if (self.folder / "data" / "UPDATE_LOCK.json").exists():
            return True
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return sum(map(_is_alive, children.read_text().split())) > 1

    def _cpu_s(self) -> float:
        """Of the supervisor and of all that has ended below it."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@dataclass
class Fresh:
    """A new clone and a new environment, each time."""

    folder: Path
    git: str
    wire: Wire
    environment: dict[str, str]
    install: Callable[[], Sequence[Sequence[str]]]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.stage()  # what the release before has left in the caches
        yield

    def stage(self) -> Cost:
        shutil.rmtree(self.folder, ignore_errors=True)
        bytes_before, cpu_before, began_s = self.wire.bytes, _children_cpu_s(), time.monotonic()
        for command in (("git", "clone", "--quiet", self.git, str(self.folder)), *self.install()):
            done = subprocess.run(
                command,
                cwd=self.folder if self.folder.exists() else None,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=PATIENCE_S,
            )
            if done.returncode:
                raise FailedError(f"{' '.join(command)}: {done.stderr}")
        return Cost(
            time.monotonic() - began_s,
            _children_cpu_s() - cpu_before,
            self.wire.bytes - bytes_before,
        )


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _by_pip() -> Sequence[Sequence[str]]:
    return (
        (sys.executable, "-m", "venv", ".venv"),
        (".venv/bin/pip", "install", "--quiet", "-r", "requirements.txt"),
    )


def _by_uv() -> Sequence[Sequence[str]]:
    uv = str(Path(sys.executable).with_name("uv"))
    return (
        (uv, "venv", "--quiet", ".venv"),
        (
            *(uv, "pip", "install", "--quiet", "--compile-bytecode"),
            *("--python", ".venv/bin/python", "-r", "requirements.txt"),
        ),
    )


SLOW = "fresh_pip"
FRESH = {SLOW: _by_pip, "fresh_uv": _by_uv}


@dataclass(frozen=True)
class Scenario:
    """A repository, and what the next release changes."""

    name: str
    files: int = 100
    new_packages: int = 0
    history: int = 0
    kept: int = 3
    repeats: int = 10
    slow: int = 2
    """How often what takes ten times as long is measured."""
    compare: bool = True
    """Whether the others are measured as well."""


SCENARIOS = (
    Scenario("code"),
    Scenario("one new dependency", new_packages=1, slow=1),
    Scenario("forty new dependencies", new_packages=40, repeats=5, slow=1),
    Scenario("code, 3,000 files", files=3_000, slow=1),
    Scenario("grows: 300 files", files=300, repeats=3, compare=False),
    Scenario("grows: 10,000 files", files=10_000, repeats=3, compare=False),
    Scenario("grows: 2,000 commits", history=2_000, repeats=3, compare=False),
    Scenario("grows: 10 releases kept", kept=10, repeats=12, compare=False),
)


def measure(folder: Path, *, effort: Effort, only: Sequence[str] = ()) -> list[Row]:
    folder.mkdir(parents=True)
    figures = Figures()
    packages = Packages(
        folder / "wheels", BASE_PACKAGES + sum(s.new_packages * s.repeats for s in SCENARIOS)
    )
    (folder / "repositories").mkdir()
    with Wire(folder / "repositories", packages.folder) as wire:
        for number, planned in enumerate(SCENARIOS):
            repeats = effort.repeats(planned.repeats)
            _measure(
                folder, wire, packages, planned, f"repository-{number}", repeats, figures, only
            )
            print(f"  {planned.name}", flush=True)
    return figures.rows()


def _measure(
    folder: Path,
    wire: Wire,
    packages: Packages,
    scenario: Scenario,
    name: str,
    repeats: int,
    figures: Figures,
    only: Sequence[str],
) -> None:
    repository = Repository(folder, name, packages, files=scenario.files)
    for _ in range(scenario.history):
        repository.commit(push=False)
    repository.push()
    git = wire.repository(repository.name)
    place, variables = folder / f"{name}-surefoot", _environment(folder / "surefoot", wire)
    homes: dict[str, Surefoot | Fresh] = {
        "surefoot": Surefoot(place, git, wire, variables, scenario.kept)
    }
    for who, install in FRESH.items() if scenario.compare else ():
        variables = _environment(folder / who, wire)
        homes[who] = Fresh(folder / f"{name}-{who}", git, wire, variables, install)
    with contextlib.ExitStack() as stack:
        for who in [who for who in homes if only and who not in only]:
            del homes[who]
        for home in homes.values():
            stack.enter_context(home.running())
        for repeat in range(repeats):
            repository.want(scenario.new_packages)
            repository.commit()
            if repeat == scenario.slow:
                homes.pop(SLOW, None)
            for who, home in homes.items():
                cost = home.stage()
                figures.add(who, scenario.name, "seconds", "s", cost.seconds)
                figures.add(who, scenario.name, "cpu_seconds", "s", cost.cpu_seconds)
                figures.add(who, scenario.name, "wire_bytes", "bytes", cost.wire_bytes)


def _environment(folder: Path, wire: Wire) -> dict[str, str]:
    """With caches in `folder`."""
    foreign = ("SUREFOOT_", "UPDATE_", "AUTO_UPDATE_", "PIP_", "UV_", "VIRTUAL_ENV", "LISTEN_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return kept | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": wire.index,
        "PIP_CACHE_DIR": str(folder / "pip-cache"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": wire.index,
        "UV_CACHE_DIR": str(folder / "uv-cache"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
