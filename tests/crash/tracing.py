"""Runs a program and stops it at each system call that changes something: to note the call, to copy
the home as it is then, or to strike. Linux on x86-64; the standard library alone.

python tracing.py PLAN HOME PROGRAM ARGUMENT...

Why not strace: it counts calls by name, reads included, so the n-th is another one in the next run;
and it can end one process, not all at once. Here an instant is named by what it does.

The program keeps its process id and its parent: a process beside it does the tracing. A seccomp
filter stops only what matters, so that all else runs at full speed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
import struct
import sys
import time

CALLS = {
    1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev", 40: "sendfile",
    326: "copy_file_range",
    74: "fsync", 75: "fdatasync", 76: "truncate", 77: "ftruncate", 285: "fallocate",
    82: "rename", 264: "renameat", 316: "renameat2", 86: "link", 265: "linkat", 87: "unlink",
    263: "unlinkat", 84: "rmdir", 83: "mkdir", 258: "mkdirat", 88: "symlink", 266: "symlinkat",
    90: "chmod", 91: "fchmod", 268: "fchmodat", 133: "mknod", 259: "mknodat",
    2: "open", 257: "openat", 16: "ioctl",
}  # fmt: skip
_CREATES = {2: 1, 257: 2}
"""Which argument says that a file may be created or emptied."""
_OPEN_FLAGS = os.O_CREAT | os.O_TRUNC
_FICLONE = 0x40049409
# Where the file is that is changed: a descriptor, a path, or a folder's descriptor and a path.
_BY_PATH = {76: 0, 82: 1, 86: 1, 87: 0, 84: 0, 83: 0, 88: 1, 90: 0, 133: 0, 2: 0}
_BY_FOLDER = {264: 2, 316: 2, 265: 2, 263: 0, 258: 0, 266: 1, 268: 0, 259: 0, 257: 0}
_BY_DESCRIPTOR = {326: 2}
"""Else it is the first argument."""

_VARIES = (
    (re.compile(r"\d{8}T\d{6}Z?(-[0-9a-f]{6})?"), "TIME"),
    (re.compile(r"(tmp_[a-z]+_)\w{6}"), r"\1X"),
    (re.compile(r"(objects/|pack-|idx-)[0-9a-f/]{38,41}"), r"\1HASH"),
    (re.compile(r"^((pipe|socket|anon_inode)\b).*"), r"\1"),
    (re.compile(r"^/(tmp|dev/shm)/[^/]*$"), "a temporary file"),
    (re.compile(r"\.[0-9a-z_]{6,8}\.tmp$"), ".X.tmp"),
    (re.compile(r" \(deleted\)$"), ""),
)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
_CONT, _GETREGS, _SETREGS, _SYSCALL, _SEIZE = 7, 12, 13, 24, 0x4206
_INTERRUPT, _LISTEN = 0x4207, 0x4208
_SYSGOOD, _FORKS, _EXEC, _SECCOMP, _EXITKILL = 1, 2 | 4 | 8, 16, 0x80, 0x100000
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
_PR_SET_PTRACER, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 0x59616D61, 38, 22
_WALL = 0x40000000
_STOPS = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


class _Registers(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_ulonglong)
        for name in (
            *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx"),
            *("rdx", "rsi", "rdi", "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base"),
            *("gs_base", "ds", "es", "fs", "gs"),
        )
    ]


# --- the program's side


def main() -> None:
    """Becomes the program, with its tracer beside it."""
    plan, home, *command = sys.argv[1:]
    ours, theirs = os.pipe()
    me = os.getpid()
    if os.fork() == 0:
        if os.fork() == 0:
            os.set_inheritable(theirs, True)
            # In no session or environment of the program's: it is not part of what is tested.
            os.setsid()
            with contextlib.suppress(OSError):
                os.closerange(3, theirs)
                os.closerange(theirs + 1, 256)
            python = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
            os.execve(python[0], [*python, "--trace", str(me), str(theirs), plan, home], {})
        os._exit(0)
    os.wait()
    os.close(theirs)
    _libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    if os.read(ours, 1) != b"+":
        sys.exit("The tracer has not come.")
    os.close(ours)
    _filter()
    os.execvp(command[0], command)


def _filter() -> None:
    """From now on the calls that matter wait for the tracer, here and in what is started."""

    def jump(code: int, value: int, yes: int, no: int) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, any_of, end = 0x20, 0x15, 0x45, 0x06
    trace, allow = jump(end, 0x7FF00000, 0, 0), jump(end, 0x7FFF0000, 0, 0)
    program = [jump(load, 0, 0, 0)]
    for number in CALLS:
        if number in _CREATES:
            low = 16 + 8 * _CREATES[number]
            program += [jump(equal, number, 0, 4), jump(load, low, 0, 0),
                        jump(any_of, _OPEN_FLAGS, 0, 1), trace, allow]  # fmt: skip
        elif CALLS[number] == "ioctl":
            program += [jump(equal, number, 0, 4), jump(load, 24, 0, 0),
                        jump(equal, _FICLONE, 0, 1), trace, allow]  # fmt: skip
        else:
            program += [jump(equal, number, 0, 1), trace]
    code = b"".join([*program, allow])
    lines = ctypes.create_string_buffer(code, len(code))
    whole = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(lines))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _libc.prctl(_PR_SET_SECCOMP, 2, ctypes.create_string_buffer(whole, len(whole)), 0, 0):
        sys.exit("The filter was not taken.")


# --- the tracer's side


class Tracer:
    """Follows the program and what it starts; `plan` says what is to happen at which call."""

    def __init__(self, program: int, plan: str, home: str) -> None:
        self.program = program
        self.home = home
        self.plan = plan
        with open(plan, encoding="utf-8") as file:
            self.outside, head, *self.names = file.read().splitlines()
        self.mode, self.what = head.split(" ", 1)
        self.is_tree = os.path.basename(plan).startswith("git")
        self.counts: dict[str, int] = {}
        self.number = 0
        self.short: dict[str, str] = {}
        self.groups: dict[int, int] = {}
        self.living = {program}
        """The threads that are traced."""
        record = self.what if self.mode == "record" else os.devnull
        self.record = open(record, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - to the end
        self.pending: dict[int, str] = {}

    def run(self) -> None:
        living = self.living
        while living:
            try:
                pid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                return
            if not os.WIFSTOPPED(status):
                living.discard(pid)
                self.groups.pop(pid, None)
                continue
            living.add(pid)
            stop, event = os.WSTOPSIG(status), status >> 16
            if event == _EVENT_SECCOMP:
                self._called(pid)
            elif event == _EVENT_STOP:
                _resume(_LISTEN if stop in _STOPS else _CONT, pid)
            elif event:
                _resume(_CONT, pid)
            elif stop == signal.SIGTRAP | 0x80:
                self._returned(pid)
            else:
                _resume(_CONT, pid, stop)

    def _called(self, pid: int) -> None:
        if not self.is_tree and self._group(pid) != self.program:
            _resume(_CONT, pid)
            return
        registers = _Registers()
        _libc.ptrace(_GETREGS, pid, None, ctypes.byref(registers))
        name = self._name(pid, registers)
        if name is None:
            _resume(_CONT, pid)
            return
        if "run/progress" not in name:
            self.number += 1
        match self.mode:
            case "record":
                self.pending[pid] = name
                _resume(_SYSCALL, pid)
                return
            case "copy" if name in self.names:
                self._copy(pid, name)
            case "strike" if name == self.names[0]:
                self._strike(pid, registers)
            case "nth" if "run/progress" not in name and self.number == int(self.names[0]):
                self._strike(pid, registers)
        _resume(_CONT, pid)

    def _name(self, pid: int, registers: _Registers) -> str | None:
        """What the call does, and the how manieth of its kind it is."""
        number = registers.orig_rax
        arguments = (registers.rdi, registers.rsi, registers.rdx, registers.r10)
        if (at := _BY_PATH.get(number)) is not None:
            path = os.path.join(_link(pid, "cwd"), _text(pid, arguments[at]))
        elif (at := _BY_FOLDER.get(number)) is not None:
            folder = ctypes.c_int(arguments[at] & 0xFFFFFFFF).value
            base = _link(pid, "cwd" if folder < 0 else f"fd/{folder}")
            path = os.path.join(base, _text(pid, arguments[at + 1]))
        else:
            descriptor = arguments[_BY_DESCRIPTOR.get(number, 0)] & 0xFFFFFFFF
            path = _link(pid, f"fd/{descriptor}")
        call = CALLS[number]
        if number in _CREATES:
            empties = arguments[_CREATES[number]] & os.O_TRUNC
            call = "open" if os.path.lexists(path) and not empties else "create"
        if path.startswith("/dev/") and not path.startswith("/dev/shm/"):
            return None
        if (known := self.short.get(path)) is None:
            known = self.short[path] = self._shortened(path)
        what = f"{call} {known}"
        self.counts[what] = self.counts.get(what, 0) + 1
        return f"{what} #{self.counts[what]}"

    def _shortened(self, path: str) -> str:
        """From the home, or from where that lies, and without what is another one each time."""
        path = path.removeprefix(self.home + "/").removeprefix(os.path.dirname(self.home) + "/")
        for pattern, instead in _VARIES:
            path = pattern.sub(instead, path)
        return path

    def _group(self, thread: int) -> int:
        """The process that a thread belongs to."""
        if thread not in self.groups:
            self.groups[thread] = _status(thread, "Tgid:") or thread
        return self.groups[thread]

    def _returned(self, pid: int) -> None:
        registers = _Registers()
        _libc.ptrace(_GETREGS, pid, None, ctypes.byref(registers))
        result = ctypes.c_longlong(registers.rax).value
        failed = errno.errorcode.get(-result, "?") if result < 0 else "ok"
        name = self.pending.pop(pid, "?")
        self.record.write(f"{time.monotonic():.6f} {failed} {name}\n")
        _resume(_CONT, pid)

    def _strike(self, pid: int, registers: _Registers) -> None:
        with open(self.plan.removesuffix("plan") + "struck", "w", encoding="utf-8"):
            pass
        if self.what == "all":
            self._see_only_what_is_tested()
            os.kill(-1, signal.SIGKILL)
        elif self.what == "it":
            os.kill(self._group(pid), signal.SIGKILL)
        else:
            registers.orig_rax = ctypes.c_ulonglong(-1).value
            registers.rax = ctypes.c_ulonglong(-getattr(errno, self.what)).value
            _libc.ptrace(_SETREGS, pid, None, ctypes.byref(registers))

    def _see_only_what_is_tested(self) -> None:
        """What is signalled next is everything: never outside of a PID namespace of our own."""
        if os.readlink("/proc/self/ns/pid") == self.outside:
            os._exit(1)

    def _copy(self, pid: int, name: str) -> None:
        """Copies the home while everything stands still: what a kill of everything would leave."""
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import states  # type: ignore[import-not-found]  # in a process of its own

        self._see_only_what_is_tested()
        # Those that are traced are stopped as their tracer may: each thread, and without a signal.
        traced = self.living - {pid}
        for thread in traced:
            _libc.ptrace(_INTERRUPT, thread, None, None)
        others = [p for p in map(int, filter(str.isdigit, os.listdir("/proc")))
                  if p not in {1, os.getpid()} and not _is_traced(p)]  # fmt: skip
        for other in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(other, signal.SIGSTOP)
        begin_s = time.monotonic()
        all_of_them = [*traced, *others]
        while not all(_stands_still(one, time.monotonic() - begin_s) for one in all_of_them):
            time.sleep(0.001)
        whose = os.path.basename(self.plan).removesuffix(".plan")
        states.copy(self.home, self.what, f"{time.monotonic():.6f} {whose} {name}")
        for other in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(other, signal.SIGCONT)


def _resume(how: int, pid: int, with_signal: int = 0) -> None:
    _libc.ptrace(how, pid, None, with_signal)


def _stands_still(pid: int, since_s: float) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state = file.read().rpartition(")")[2].split()[0]
            # One that waits for a child of vfork(2) cannot be stopped before that child goes on.
            return state in "TtZX" or (state == "D" and since_s > 0.05)
    except OSError:
        return True


def _status(pid: int, name: str) -> int:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(name))
    except (OSError, StopIteration):
        return 0


def _is_traced(pid: int) -> bool:
    return _status(pid, "TracerPid:") != 0


def _link(pid: int, what: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{what}")
    except OSError:
        return "?"


def _text(pid: int, address: int) -> str:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        found = b""
        while b"\0" not in found and len(found) < 4096:
            found += memory.read(64) or b"\0"
    return os.fsdecode(found.partition(b"\0")[0])


def trace(program: int, ready: int, plan: str, home: str) -> None:
    os.chdir("/")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    options = _SYSGOOD | _FORKS | _EXEC | _SECCOMP | _EXITKILL
    if _libc.ptrace(_SEIZE, program, None, options):
        sys.exit("It cannot be traced.")
    tracer = Tracer(program, plan, home)
    os.write(ready, b"+")
    os.close(ready)
    tracer.run()


if __name__ == "__main__":
    if sys.argv[1] == "--trace":
        trace(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main()
