"""Instants: a system call of one program of an update, named by what it does; and how to strike
there."""

from __future__ import annotations

import os
import platform
import random
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
TRACER = Path(__file__).with_name("tracing.py")

MOST_OF_THE_SAME = 12
"""How many of the same calls to the same file are instants, such as the pages of a copy."""


class Dies(StrEnum):
    """What the instant is the end of."""

    IT = "it alone"
    """The program that makes the call; the supervisor goes on."""
    ALL = "everything"
    NOTHING = "nothing"
    """The call fails instead."""


@dataclass(frozen=True)
class Instant:
    """Where to strike, and how."""

    program: str
    """`engine`, `migration` or `git`, with its number: `engine.1` is the first engine."""
    call: str
    """Such as `rename data/UPDATE_LOCK.json #3`: the third of these."""
    dies: Dies = Dies.ALL
    error: str = ""

    @property
    def kind(self) -> str:
        if self.error:
            return f"{self.error} in {self.program.partition('.')[0]}"
        return f"{self.program.partition('.')[0]}: {self.dies} dies"

    def __str__(self) -> str:
        return f"{self.program} {self.call} ({self.error or f'{self.dies} dies'})"


@dataclass(frozen=True)
class Call:
    """One that was made in an undisturbed update."""

    program: str
    at_s: float
    """When it had returned, by the monotonic clock."""
    error: str
    """Empty where it went well."""
    name: str

    @property
    def changes(self) -> bool:
        """Whether anybody who looks later can tell that it was made. Without a power cut an
        `fsync` changes nothing, and `run/progress` is only shown."""
        return not (
            self.error
            or self.name.startswith(("fsync ", "fdatasync ", "open ", "write log "))
            or "run/progress " in self.name
            or self.name.partition(" ")[2].startswith(("pipe ", "socket ", "anon_inode "))
        )


_WRAPPER = """\
#!/bin/sh
# Runs a program; under the tracer where a plan says so. Each run has a number of its own.
plans={plans}
number=1
while ! mkdir "$plans/{name}.$number" 2>/dev/null; do
    [ -d "$plans" ] || exit 1
    number=$((number + 1))
done
plan=$plans/{name}.$number.plan
[ -f "$plan" ] || exec {program} "$@"
exec {tracer} "$plan" {home} {program} "$@"
"""


class Plans:
    """What is to happen in the next update. `tools` has the wrappers, by the programs' names."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder / "plans"
        self.tools = folder / "tools"
        self.states = folder / "states"
        self.home = home
        self.tools.mkdir(parents=True)

    def wrap(self, name: str, program: str) -> Path:
        tool = self.tools / name
        tracer = shlex.join([sys.executable, "-I", "-S", str(TRACER)])
        plans, home = shlex.quote(str(self.folder)), shlex.quote(str(self.home))
        tool.write_text(
            _WRAPPER.format(plans=plans, home=home, name=name, program=program, tracer=tracer)
        )
        tool.chmod(0o755)
        return tool

    def forget(self) -> None:
        """What has run until now does not count."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def record(self, kind: str) -> None:
        """Lets everything happen, and notes what the programs of a kind do."""
        for number in range(1, 30):
            program = f"{kind}.{number}"
            self._write(program, f"record {self.folder / program}.trace", [])

    def copy(self, calls: list[tuple[str, str]]) -> None:
        """Copies the home right before each of these calls; they are named with their programs."""
        for program in {program for program, _ in calls}:
            names = [name for whose, name in calls if whose == program]
            self._write(program, f"copy {self.states}", names)

    def strike(self, instant: Instant) -> None:
        how = instant.error or ("all" if instant.dies is Dies.ALL else "it")
        mode = "nth" if instant.call.isdecimal() else "strike"
        self._write(instant.program, f"{mode} {how}", [instant.call])

    def _write(self, program: str, what: str, names: list[str]) -> None:
        outside = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
        text = "\n".join([outside, what, *names])
        (self.folder / f"{program}.plan").write_text(text, encoding="utf-8")

    def has_struck(self, program: str) -> bool:
        return (self.folder / f"{program}.struck").exists()

    @property
    def is_begun(self) -> bool:
        return (self.folder / "engine.1").exists()

    def copied(self, program: str) -> list[tuple[int, float, str, tuple[str, str]]]:
        """Of each copy of a program's update: number, time, digest, and the call that was next."""
        found = []
        for file in sorted(self.states.glob("*.state")):
            with file.open(encoding="utf-8") as lines:
                at, whose, name = next(lines).rstrip("\n").split(" ", 2)
                digest = next(lines).strip()
            if whose.partition(".")[0] == program:
                found.append((int(file.stem), float(at), digest, (whose, name)))
        return found

    def recorded(self) -> list[Call]:
        found = []
        for trace in self.folder.glob("*.trace"):
            for line in trace.read_text(encoding="utf-8").splitlines():
                at, error, name = line.split(" ", 2)
                found.append(Call(trace.stem, float(at), "" if error == "ok" else error, name))
        return sorted(found, key=lambda call: call.at_s)


def thinned(calls: list[Call]) -> list[Call]:
    """Of the pages of a large copy, written one after another, an even choice with both ends. The
    writes that only make room for SQLite's shared memory, with nothing in between, are one."""
    by_kind: dict[tuple[str, str], list[Call]] = {}
    before = ""
    for call in calls:
        what = f"{call.program} {call.name.rpartition(' ')[0]}"
        if not (what == before and what.endswith("-shm")):
            by_kind.setdefault((call.program, what), []).append(call)
        before = what
    kept = {call for same in by_kind.values() for call in evenly(same, MOST_OF_THE_SAME)}
    return [call for call in calls if call in kept]


def evenly(things: list[T], most: int) -> list[T]:
    """An even choice, with both ends."""
    step = max(1.0, (len(things) - 1) / max(1, most - 1))
    return [things[int(i * step)] for i in range(min(len(things), most))]


def in_recovery(instant: Instant, seed: str, engine: int) -> Instant:
    """A second strike, at the engine that begins to recover from the first: at its n-th call."""
    call = str(random.Random(seed).randint(1, 60))
    return Instant(f"engine.{engine}", call, instant.dies, instant.error)


def variants(program: str, call: str) -> list[Instant]:
    """The ways to strike at this call."""
    instant = Instant(program, call)
    killed = [replace(instant, dies=Dies.ALL), replace(instant, dies=Dies.IT)]
    if not program.startswith("engine"):
        return killed
    name = call.partition(" ")[0]
    errors = ["EIO", "ENOSPC"] if name == "write" else ["ENOSPC" if name in _TAKES_ROOM else "EIO"]
    return killed + [replace(instant, dies=Dies.NOTHING, error=error) for error in errors]


_TAKES_ROOM = {
    *("write", "pwrite64", "writev", "pwritev", "sendfile", "copy_file_range", "ioctl"),
    *("ftruncate", "truncate", "fallocate", "create", "open", "mkdir", "mkdirat", "mknod"),
    *("mknodat", "symlink", "symlinkat", "link", "linkat", "rename", "renameat", "renameat2"),
}


def why_not() -> str:
    """Why no system call can be stopped here; empty where it can."""
    if platform.machine() != "x86_64":
        return f"the tracer knows the system calls of x86-64, not of {platform.machine()}"
    return ""
