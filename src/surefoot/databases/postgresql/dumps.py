"""pg_dump and pg_restore: found in a version that fits the server, and run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.databases.postgresql.server import Connection, Server

OUTPUT_LIMIT = 300
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")


def programs(server_version: int) -> Path:
    """The folder of a pg_dump and a pg_restore that can read such a server.

    Raises DatabaseError, naming what is there and what is needed, where there is none.
    """
    wanted = server_version // 10000
    found: dict[int, Path] = {}
    for folder in _folders():
        if version := _major(folder / "pg_dump"):
            found.setdefault(version, folder)
            if version >= wanted and (folder / "pg_restore").exists():
                return folder
    there = f"only of version {', '.join(map(str, sorted(found)))}" if found else "not installed"
    raise DatabaseError(
        f"The server is PostgreSQL {wanted}, and pg_dump is {there}: it cannot be backed up.",
        next_step=f"Install pg_dump {wanted} or newer (Debian: postgresql-client-{wanted}).",
    )


def dump(server: Server, session: Connection, name: str, file: Path) -> None:
    """Writes a dump in PostgreSQL's own format, while the database is in use; durable, and read
    again, when it returns. There is no file when it fails."""
    folder = programs(session.info.server_version)
    temporary = file.with_name(f".{file.name}.part")
    try:
        temporary.touch(mode=0o600)
        arguments = ["--format=custom", "--compress=1", "--no-password", f"--file={temporary}"]
        _run(folder / "pg_dump", arguments, server, name, f"The database {name} cannot be dumped")
        check(temporary, folder)
        durable.sync_file(temporary)
        temporary.rename(file)
    finally:
        temporary.unlink(missing_ok=True)
    durable.sync_folder(file.parent)


def check(file: Path, folder: Path | None = None) -> None:
    """Raises DatabaseError where pg_restore cannot read the dump's table of contents."""
    program = (folder or programs(_FOR_ANY_SERVER)) / "pg_restore"
    ended = subprocess.run([program, "--list", file], capture_output=True, check=False)
    if ended.returncode or b"\n;     Format: CUSTOM" not in ended.stdout:
        raise DatabaseError(f"The dump {file.name} is damaged: {_last(ended.stderr)}.")


def restore(
    server: Server, session: Connection, file: Path, name: str, *, owners: bool = True
) -> None:
    """Fills an empty database from a dump. With `owners` everything belongs to whom it did.

    Raises DatabaseError where anything in it cannot be restored.
    """
    folder = programs(session.info.server_version)
    arguments = ["--exit-on-error", "--no-password", f"--dbname={name}"]
    if not owners:
        arguments += ["--no-owner", "--no-privileges"]
    what = f"The dump {file.name} cannot be restored into {name}"
    _run(folder / "pg_restore", [*arguments, str(file)], server, name, what)


_FOR_ANY_SERVER = 0


def _folders() -> Iterator[Path]:
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path).parent
    for place in _PLACES:
        # The lowest that fits comes first.
        yield from sorted(Path("/").glob(place[1:]), key=_number)


def _number(folder: Path) -> int:
    return int("".join(re.findall(r"\d+", str(folder))) or 0)


def _major(program: Path) -> int:
    """0 where it cannot be run."""
    try:
        ended = subprocess.run([program, "--version"], capture_output=True, check=False)
    except OSError:
        return 0
    found = re.search(rb"\) (\d+)", ended.stdout)
    return int(found[1]) if found else 0


def _run(program: Path, arguments: list[str], server: Server, name: str, what: str) -> None:
    ended = subprocess.run(
        [program, *arguments],
        env=server.environment(name),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if ended.returncode:
        raise DatabaseError(f"{what}: {_last(ended.stderr)}.")


def _last(output: bytes) -> str:
    """What went wrong first: what follows is its consequence."""
    lines = [line for line in output.decode(errors="replace").splitlines() if "error:" in line]
    text = (lines or [output.decode(errors="replace").strip() or "it says nothing"])[0]
    return " ".join(text.split()).rstrip(".")[:OUTPUT_LIMIT]
