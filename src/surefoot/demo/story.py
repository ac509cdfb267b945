"""The demo as a story: good releases and bad ones come, while somebody uses the app."""

from __future__ import annotations

import http.client
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from surefoot.demo.client import Client, Kind, Summary
from surefoot.demo.sample import History, make_history
from surefoot.demo.server import DemoError, Server, Update
from surefoot.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST = "v1.0"
_INSTALL_DEADLINE_S = 180
_RETURN_DEADLINE_S = 45

_WENT_LIVE = frozenset({ExitCode.OK})
_KEPT_OUT = frozenset({ExitCode.ABANDONED, ExitCode.ROLLED_BACK})


@dataclass(frozen=True)
class Scene:
    """A release comes."""

    tag: str
    may_end_as: frozenset[ExitCode]
    serves_after: str
    """The version that users must find when all is over."""

    @property
    def stays(self) -> bool:
        """Whether the release is one to keep."""
        return self.serves_after == self.tag.removeprefix("v")


@dataclass(frozen=True)
class Told:
    """How a scene ended."""

    scene: Scene
    what: str
    happened: str
    reason: str
    seen: Summary
    notes: int
    took_s: float


SCENES = (
    Scene("v1.1", _WENT_LIVE, "1.1"),
    Scene("v1.2", _WENT_LIVE, "1.2"),
    Scene("bad-dependency", frozenset({ExitCode.ABANDONED}), "1.2"),
    Scene("bad-import", _KEPT_OUT, "1.2"),
    Scene("bad-migration", _KEPT_OUT, "1.2"),
    Scene("bad-health", _KEPT_OUT, "1.2"),
    Scene("bad-hang", _KEPT_OUT, "1.2"),
    # Three seconds may be longer than it is judged for: then it goes back after its commit.
    Scene("bad-crash", _KEPT_OUT | _WENT_LIVE, "1.2"),
    Scene("bad-stop", _WENT_LIVE, "bad-stop"),
    Scene("v1.3", _WENT_LIVE, "1.3"),
)
SHORT = tuple(s for s in SCENES if s.tag in {"v1.2", "bad-import", "bad-migration"})


def main(short: bool, keep: bool, folder: Path | None) -> int:
    """Tells the story; 0 if it went as it must.

    `short`: one good release and two bad ones. It happens in `folder`, which must be new or empty,
    or in a temporary one, which is removed at the end unless `keep` is said.
    """
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 110
    place = Path(tempfile.mkdtemp(prefix="surefoot-demo-")) if folder is None else folder.absolute()
    if folder is not None and folder.exists() and any(folder.iterdir()):
        console.print(f"{folder} is not empty. Name a new folder.")
        return ExitCode.USAGE
    # So that whoever ends the demo ends all that it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return _perform(console, place, SHORT if short else SCENES)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 128 + signal.SIGINT
    finally:
        if folder is not None or keep:
            console.print(f"Everything is kept in {place}.")
        else:
            shutil.rmtree(place)


def _perform(console: Console, place: Path, scenes: tuple[Scene, ...]) -> int:
    began_s = time.monotonic()
    history = make_history(place / "source", publish=(FIRST,))
    server = Server(place, history)
    try:
        try:
            told = _play(console, server, history, scenes)
        finally:
            server.stop()
    except DemoError as error:
        console.print(f"\n[red]The demo failed.[/red] {error}", markup=True)
        console.print("\nThe end of the supervisor's log:\n")
        console.print(server.log_tail(), markup=False)
        return ExitCode.FAILED
    console.print()
    console.print(_table(told, wide=console.width >= 100))
    console.print(
        f"{told[-1].notes} notes were written while {len(told)} releases came; every one is there. "
        f"All is stopped again, after {time.monotonic() - began_s:.0f} seconds."
    )
    return ExitCode.OK


def _play(
    console: Console, server: Server, history: History, scenes: tuple[Scene, ...]
) -> list[Told]:
    began_s = time.monotonic()
    server.start()
    with console.status(f"Surefoot installs {FIRST} of Notes, a FastAPI app with SQLite ..."):
        server.wait_for(history.releases[FIRST].version, _INSTALL_DEADLINE_S)
        server.shorten_deadline()
    console.print(
        f"Notes {FIRST}, a FastAPI app with SQLite, was installed by Surefoot in "
        f"{time.monotonic() - began_s:.1f} s and serves at {server.url}.\n"
        "From now on a client writes and reads notes, 40 times a second, while releases come.\n"
    )
    with Client(server.url) as client:
        return list(tell(console, server, client, history, scenes))


def tell(
    console: Console,
    server: Server,
    client: Client,
    history: History,
    scenes: Iterable[Scene],
) -> Iterable[Told]:
    """Plays one scene after the other and says what came of it.

    Raises DemoError where something happened that must not.
    """
    for scene in scenes:
        what = history.releases[scene.tag].what
        console.print(Text.assemble((f"{scene.tag}", "bold"), f"  {what}"))
        history.publish(scene.tag)
        mark_s = client.mark()
        with console.status(f"surefoot update --to {scene.tag} --wait"):
            update = server.update(scene.tag)
            if update.outcome not in scene.may_end_as:
                raise DemoError(
                    f"{scene.tag} ended with {update.outcome} ({update.outcome.name}), which it "
                    f"must not: {update.reason}"
                )
            server.wait_for(scene.serves_after, _RETURN_DEADLINE_S)
        reason = update.reason
        if update.outcome is ExitCode.OK:
            # Past the commit, going back is an update of its own, which nobody asked for.
            reason = "" if scene.stays else server.last_reason()
        told = _told(scene, what, update, reason, client, mark_s)
        style = "yellow" if told.reason else "green"
        console.print(Text.assemble("    ", (told.happened, style), f" ({told.took_s:.1f} s)"))
        if told.reason:
            console.print(Text(f"    {told.reason}", style="dim"))
        console.print(f"    {_noticed(told)}\n")
        yield told


def _told(
    scene: Scene, what: str, update: Update, reason: str, client: Client, mark_s: float
) -> Told:
    seen = client.summary(mark_s)
    promised = len(client.acknowledged)
    try:
        lost = client.lost()
    except (OSError, http.client.HTTPException) as error:
        raise DemoError(f"After {scene.tag} the notes could not be listed: {error}") from error
    if lost:
        raise DemoError(
            f"After {scene.tag} {len(lost)} of {promised} notes are lost, such as {lost[0]}."
        )
    for kind in (Kind.WRONG, Kind.REFUSED):
        if seen.failed.get(kind):
            raise DemoError(f"During {scene.tag} {seen.failed[kind]} requests were {kind}.")
    happened = {
        ExitCode.ABANDONED: "never went live: found out while the old release served on",
        ExitCode.ROLLED_BACK: "rolled back: code, dependencies and database",
    }.get(update.outcome, "updated")
    if update.outcome is ExitCode.OK and not scene.stays:
        happened = "went back by itself: it failed when it was live"
    return Told(scene, what, happened, reason, seen, promised, time.monotonic() - mark_s)


def _noticed(told: Told) -> str:
    seen = told.seen
    failed = {kind: n for kind, n in seen.failed.items() if kind is not Kind.MAINTENANCE}
    kinds = ", ".join(f"{count} {kind}" for kind, count in failed.items()) or "none"
    return (
        f"Users: longest gap without an answer {seen.longest_gap_s:.1f} s; of {seen.requests} "
        f"requests {seen.turned_away} turned away, {kinds} failed; "
        f"of {told.notes} notes none lost."
    )


def _table(story: list[Told], *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("release", no_wrap=True)
    if wide:
        table.add_column("what came")
    table.add_column("what happened", no_wrap=True)
    for heading in ("gap", "turned away", "failed", "lost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for told in story:
        seen = told.seen
        table.add_row(
            told.scene.tag,
            *([told.what] if wide else []),
            told.happened.partition(":")[0],
            f"{seen.longest_gap_s:.1f} s",
            f"{seen.turned_away} of {seen.requests}",
            str(seen.failures - seen.turned_away),
            "0",  # anything else ends the story
        )
    return table
