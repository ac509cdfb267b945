"""Instants: the n-th system call of one name, in one program of an update; and how to strike there.

strace counts calls by name and process. Without `-f` it sees one thread of one process, so that n
means the same call in every run; git, whose children do the work, is followed (`-f`).
"""

from __future__ import annotations

import itertools
import random
import re
import shlex
import shutil
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CALLS = (
    "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "fsync", "fdatasync",
    "write", "pwrite64", "mkdir", "mkdirat", "symlink", "symlinkat", "openat", "ftruncate", "rmdir",
)  # fmt: skip
"""What changes something; of `openat` only those that may create a file."""


MOST_OF_THE_SAME = 40
"""How many of the same calls to the same file are instants, where nothing of that name comes
between."""


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
    n: int
    what: str = ""
    """The call itself, as strace shows it."""
    dies: Dies = Dies.ALL
    error: str = ""

    @property
    def kind(self) -> str:
        if self.error:
            return f"{self.error} in {self.program.partition('.')[0]}"
        return f"{self.program.partition('.')[0]}: {self.dies} dies"

    def __str__(self) -> str:
        how = self.error or f"{self.dies} dies"
        return f"{self.program} {self.call}#{self.n} ({how}) {self.what}"


_WRAPPER = """\
#!/bin/sh
# Runs a program; under strace where a plan says so. Each run has a number of its own.
plans={plans}
number=1
while ! mkdir "$plans/{name}.$number" 2>/dev/null; do
    [ -d "$plans" ] || exit 1
    number=$((number + 1))
done
plan=$plans/{name}.$number.plan
[ -f "$plan" ] || exec {program} "$@"
{strace}
code=$?
if [ "$code" = 137 ]; then
    : >"$plans/struck"
    [ ! -f "$plans/all" ] || kill -KILL -1
    kill -KILL $$
fi
exit "$code"
"""


_STRACE = """eval "strace $(cat "$plan")" {program} '"$@"'"""
# A child's end is not its parent's: it is found in the trace.
_STRACE_ALL = """\
exec 4<&0
eval "strace $(cat "$plan")" {program} '"$@" <&4 4<&- &'
is_struck() {{ grep -qs 'killed by SIGKILL' "$plans/struck.{name}.$number.trace"; }}
while [ -f "$plans/all" ] && kill -0 "$!" 2>/dev/null && ! is_struck; do sleep 0.005; done
[ ! -f "$plans/all" ] || ! is_struck || kill -KILL -1
wait "$!\""""


class Plans:
    """What is to happen in the next update. `tools` has the wrappers, by the programs' names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "plans"
        self.tools = folder / "tools"
        self.tools.mkdir(parents=True)

    def wrap(self, name: str, program: str) -> Path:
        tool = self.tools / name
        strace = (_STRACE_ALL if name == "git" else _STRACE).format(program=program, name=name)
        plans = shlex.quote(str(self.folder))
        tool.write_text(_WRAPPER.format(plans=plans, name=name, program=program, strace=strace))
        tool.chmod(0o755)
        return tool

    def record(self) -> None:
        """Lets everything happen, and notes it."""
        for number in range(1, 30):
            for name in ("engine", "migration", "git"):
                program = f"{name}.{number}"
                out = shlex.quote(str(self.folder / f"{program}.trace"))
                self._write(program, f"-y -o {out} -e trace={','.join(CALLS)}")

    def forget(self) -> None:
        """What has run until now does not count."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()

    def strike(self, instant: Instant) -> None:
        if instant.dies is Dies.ALL:
            (self.folder / "all").touch()
        effect = f"error={instant.error}" if instant.error else "signal=SIGKILL"
        trace = self.folder / f"struck.{instant.program}.trace"
        self._write(
            instant.program,
            f"-o {shlex.quote(str(trace))} -e trace={instant.call} "
            f"-e inject={instant.call}:{effect}:when={instant.n}",
        )

    def _write(self, program: str, options: str) -> None:
        follow = "f" if program.startswith("git") else "q"
        (self.folder / f"{program}.plan").write_text(f"-q{follow} {options}")

    def has_struck(self, program: str) -> bool:
        try:
            text = (self.folder / f"struck.{program}.trace").read_text(errors="replace")
        except FileNotFoundError:
            return False
        return "(INJECTED)" in text or "killed by SIGKILL" in text

    @property
    def is_begun(self) -> bool:
        return (self.folder / "engine.1").exists()

    def recorded(self) -> list[Instant]:
        """Every instant of the update that was recorded, but for long runs of the same."""
        found: dict[tuple[str, str, int], Instant] = {}
        for trace in sorted(self.folder.glob("*.trace")):
            for instant in _thinned(_instants(trace.stem, trace.read_text(errors="replace"))):
                found.setdefault((instant.program, instant.call, instant.n), instant)
        return list(found.values())


def _thinned(instants: list[Instant]) -> list[Instant]:
    """Of the pages of a large copy, written one after another, an even choice with both ends."""
    kept = set()
    by_call: dict[str, list[Instant]] = {}
    for instant in instants:
        by_call.setdefault(instant.call, []).append(instant)
    for same_call in by_call.values():
        for _, run in itertools.groupby(same_call, lambda i: _file(i.what)):
            same = list(run)
            step = max(1, (len(same) - 1) / (MOST_OF_THE_SAME - 1))
            kept |= {same[int(i * step)] for i in range(min(len(same), MOST_OF_THE_SAME))}
    return [instant for instant in instants if instant in kept]


def _file(what: str) -> str:
    found = re.search(r"[<\"](/[^>\"]*)", what)
    return found[1] if found else ""


def _instants(program: str, text: str) -> list[Instant]:
    found = []
    counts: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        match = re.match(r"(?:(\d+) +)?([a-z0-9]+)\((.*)", line)
        if match is None or match[2] not in CALLS:
            continue
        key = (match[1] or "", match[2])
        counts[key] = counts.get(key, 0) + 1
        if match[2] != "openat" or "O_CREAT" in match[3]:
            found.append(Instant(program, match[2], counts[key], match[3][:220]))
    return found


def in_recovery(instant: Instant, seed: str) -> Instant:
    """A second strike, at the engine that begins to recover from the first."""
    dice = random.Random(seed)
    call = dice.choice(["rename", "fsync", "fsync", "unlink", "write", "openat", "mkdir"])
    return Instant("engine.2", call, dice.randint(1, 25), dies=instant.dies)


def variants(instant: Instant) -> list[Instant]:
    """The ways to strike at this instant."""
    killed = [replace(instant, dies=Dies.ALL), replace(instant, dies=Dies.IT)]
    if not instant.program.startswith("engine"):
        return killed
    errors = {"fsync": ["EIO"], "fdatasync": ["EIO"], "write": ["ENOSPC", "EIO"]}
    names = errors.get(instant.call, ["ENOSPC"] if instant.call in _TAKES_ROOM else ["EIO"])
    return killed + [replace(instant, dies=Dies.NOTHING, error=error) for error in names]


_TAKES_ROOM = {"pwrite64", "mkdir", "mkdirat", "symlink", "symlinkat", "openat", "link", "linkat",
               "rename", "renameat", "renameat2", "ftruncate"}  # fmt: skip
