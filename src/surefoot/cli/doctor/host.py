"""Checks of the machine: disk, clock, network, and the programs that are needed."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from surefoot.cli.doctor.check import Finding, Subject, ok, problem, warning
from surefoot.cli.output import moment, size
from surefoot.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCARCE_BYTES = 1_000_000_000
_TOO_LITTLE_BYTES = 200_000_000
_SCARCE_FILES = 20_000
_LOOKED_AT = 1000
"""Events of the history that are asked for their time."""
_BUILT = datetime(2025, 1, 1, tzinfo=UTC)
"""No clock that is right shows an earlier time."""


def addresses(subject: Subject) -> Iterator[Finding]:
    """Whether somebody else has taken the app's addresses."""
    wanted = list(subject.settings.app.listen)
    if not wanted and (address := subject.settings.address()):
        wanted = [address]
    if not wanted:
        yield ok("None is known: the app serves none, or its command does not say.")
    for address in wanted:
        if subject.running or address.startswith("unix:"):
            yield ok(f"{address} is the app's.")
        elif why := _taken(address):
            yield problem(
                f"{address} cannot be used: {why}.",
                "End who has it (`ss -ltnp` shows who), or change the app's address.",
            )
        else:
            yield ok(f"{address} is free.")


def _taken(address: str) -> str:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError as error:
            return str(error.strerror or error)
    return ""


def writable(subject: Subject) -> Iterator[Finding]:
    """Whether we may write everywhere where an update writes."""
    home = subject.home
    folders = (home.root, home.data, home.backups, home.releases, home.environments, home.run)
    locked = []
    for folder in folders:
        if not folder.is_dir():
            continue
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            locked.append(f"{folder} ({error.strerror})")
    owner = home.root.stat().st_uid
    if locked:
        yield problem(
            f"{_user(os.geteuid())} cannot write to {', '.join(locked)}.",
            f"Run Surefoot as {_user(owner)}, or give the folders to {_user(os.geteuid())}.",
        )
    elif owner != os.geteuid():
        yield warning(
            f"{home.root} belongs to {_user(owner)}, and this is {_user(os.geteuid())}.",
            "Always run Surefoot as the same user, else files end up with the wrong owner.",
        )
    else:
        yield ok(f"{home.root} can be written to.")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def disk(subject: Subject) -> Iterator[Finding]:
    """Whether there is room for the next update."""
    root = subject.home.root
    free = shutil.disk_usage(root).free
    found = subject.config.database.values() if subject.config else ()
    paths = (database.path(root) for database in found if not database.is_postgresql)
    needed = 2 * sum(path.stat().st_size for path in paths if path.exists())
    numbers = os.statvfs(root)
    if free < needed + _TOO_LITTLE_BYTES:
        yield problem(
            f"Only {size(free)} are free, and an update needs about "
            f"{size(needed + _TOO_LITTLE_BYTES)}.",
            "Make room, or keep fewer releases and backups ([keep]).",
        )
    elif free < needed + _SCARCE_BYTES:
        yield warning(f"Only {size(free)} are free.", "Make room before long.")
    else:
        yield ok(f"{size(free)} are free.")
    if numbers.f_files and numbers.f_favail < _SCARCE_FILES:
        yield problem(
            f"Only {numbers.f_favail} more files can be made (inodes).", "Remove small files."
        )


def clock(subject: Subject) -> Iterator[Finding]:
    """Whether the clock shows a time that can be."""
    from surefoot.update.history import History

    now = datetime.now(UTC)
    last = islice(History(subject.home).newest(), _LOOKED_AT)
    newest = max((event.at for event in last), default=_BUILT)
    if now < max(newest - timedelta(minutes=1), _BUILT):
        yield warning(
            f"It shows {moment(now)}, which is before {moment(newest)}, when something was "
            "recorded here.",
            "Set it (`timedatectl`): backups and updates are named by time.",
        )
    else:
        yield ok(moment(now))


def git(_: Subject) -> Iterator[Finding]:
    """Whether it is there, and new enough."""
    from surefoot.releases.git_command import require_git

    require_git()
    said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout
    yield ok(said.strip().removeprefix("git version "))


def uv(_: Subject) -> Iterator[Finding]:
    """Whether it is there."""
    from uv import find_uv_bin

    command = [find_uv_bin(), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    yield ok(said.strip().removeprefix("uv "))


def python(subject: Subject) -> Iterator[Finding]:
    """Whether the Python that the app asks for is on this machine."""
    from surefoot.releases.interpreter import asked, find
    from surefoot.releases.uv_settings import build_environment

    code = subject.home.current / "app"
    folders = [code / subject.settings.app.directory, code]
    wishes = asked(folders, subject.settings.build.python)
    found = find(wishes, build_environment())
    wanted = f", as {wishes[0].by} asks" if wishes[0].version else ""
    yield ok(f"{found.version} ({found.path}){wanted}.")


def source(subject: Subject) -> Iterator[Finding]:
    """Whether the source answers, and has what is followed."""
    from surefoot.releases.git import GitSource

    there = GitSource(subject.home.mirror, subject.settings.source)
    try:
        found = there.resolve()
    except SourceError as error:
        yield problem(error.message, error.next_step.removeprefix("The app was not touched. "))
        return
    yield ok(f"{there.shown_address} has {found.ref} ({found.commit[:12]}).")
