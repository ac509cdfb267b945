"""How things are shown: JSON for programs, sentences and tables for people."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

_WIDE = 400
"""Columns where there is no terminal: what is read by a program or a log is never wrapped."""


def emit(value: Any) -> None:
    """Prints one JSON object or array on stdout."""
    click.echo(msgspec.json.encode(value).decode())


def note(sentence: str) -> None:
    """Says something that is not the answer: on stderr."""
    click.echo(sentence, err=True)


def console(*, err: bool = False) -> Console:
    """A terminal to draw on, or a stream of plain lines."""
    from rich.console import Console

    file = sys.stderr if err else sys.stdout
    return Console(
        file=file,
        width=None if file.isatty() else _WIDE,
        highlight=False,
        emoji=False,
        markup=False,
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under their headings."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        drawn.add_row(*row)
    screen = console()
    with screen.capture() as capture:
        screen.print(drawn)
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


@contextlib.contextmanager
def busy(doing: str) -> Iterator[None]:
    """Shows on stderr that something goes on; on a terminal with a spinner, else as a line."""
    if not sys.stderr.isatty():
        note(f"{doing} ...")
        yield
        return
    with console(err=True).status(f"{doing} ..."):
        yield


def moment(at: datetime | None) -> str:
    """A time as people read it, in their zone."""
    if at is None:
        return "-"
    with contextlib.suppress(OverflowError, ValueError, OSError):  # outside of what a zone knows
        at = at.astimezone()
    return at.isoformat(" ", "seconds")


def ago(at: datetime) -> str:
    """How long ago something was."""
    return f"{span((datetime.now(UTC) - at).total_seconds())} ago"


def span(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if 0 < seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{max(seconds, 0):.1f} s"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(size_bytes: int) -> str:
    """An amount of data in the unit that suits it."""
    amount = float(min(size_bytes, 10**18))
    for unit in ("bytes", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
