"""`surefoot history`: what happened, and one update told in full."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import emit, moment, span, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from surefoot.home import Home
    from surefoot.update.history import Event

_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_QUIET = frozenset({"checked"})
"""Happen by the clock; shown to whoever asks for them."""
_SEEN_BY_THE_APP = frozenset({"start", "unhealthy", "crashes"})
"""Causes of which the app's own output may say more."""
_IMAGES = (".svg", ".png")
_OUTCOMES = ("committed", "rolled_back", "abandoned", "broken", "refused", "up_to_date")


def _moment(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """When something was, from a date or from how long ago it was."""
    if value is None:
        return None
    if ago := re.fullmatch(r"(\d{1,4}) ?(min|h|d|w)", value):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value} is neither like 2026-03-01, nor like 7d.") from None


def _image(_: click.Context, __: click.Parameter, file: Path | None) -> Path | None:
    if file is not None and file.suffix.lower() not in _IMAGES:
        raise click.BadParameter(f"{file} ends neither in {' nor in '.join(_IMAGES)}.")
    return file


@click.command()
@click.argument("update_id", metavar="[ID]", required=False)
@click.option("--update", "update_option", metavar="ID", help="Only of this update.")
@click.option("--event", "name", metavar="EVENT", help="Only of this kind, such as backed_up.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only updates that ended so.")
@click.option("--release", metavar="ID", help="Only what concerns this release.")
@click.option(
    "--since", callback=_moment, metavar="TIME", help="2026-03-01, or 30min, 12h, 7d, 4w ago."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The last so many."
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_image,
    metavar="FILE",
    help="Draw the durations of these updates into FILE.svg or FILE.png.",
)
@with_home
@with_json
def history(
    home: Home,
    update_id: str | None,
    *,
    limit: int,
    plot: Path | None,
    as_json: bool,
    **filters: Any,
) -> None:
    """Show what happened, the newest last.

    With an ID, or `last`, one update is told in full: what happened when, how long each step took,
    and what the step that failed has printed. --plot draws the updates that have ended: the steps
    of each, and how long the app was away. It needs surefoot[plots].

    \b
    Examples:
      surefoot history --limit 10
      surefoot history last
      surefoot history --outcome rolled_back --since 4w
      surefoot history 20260301T101500-a1b2c3 --json
      surefoot history --since 4w --plot updates.svg
    """
    if update_id is not None and plot is not None:
        raise click.UsageError("--plot draws several updates; leave the ID out.")
    if update_id is not None:
        _tell_one(home, update_id, as_json=as_json)
        return
    newest = _newest(home, **filters)
    if plot is not None:
        _draw(newest, plot, limit=limit, as_json=as_json)
        return
    found = list(islice(newest, limit))[::-1]
    if as_json:
        emit(found)
    elif not found:
        click.echo("Nothing of that kind has happened yet.")
    else:
        table(
            ("AT", "UPDATE", "EVENT", "WHAT"),
            [(moment(e.at), e.update, e.event, " ".join(e.text.split())) for e in found],
        )


def _newest(
    home: Home,
    *,
    update_option: str | None,
    name: str | None,
    outcome: str | None,
    release: str | None,
    since: datetime | None,
) -> Iterator[Event]:
    from surefoot.update.history import History

    for event in History(home).newest():
        if since is not None and event.at < since:
            if event.at < since - timedelta(days=1):  # a clock may have been set back, a little
                break
            continue
        wanted = (
            update_option in {None, event.update}
            and outcome in {None, event.event}
            and (event.event not in _QUIET if name is None else name == event.event)
            and (release is None or _concerns(event, release))
        )
        if wanted:
            yield event


def _concerns(event: Event, release: str) -> bool:
    named = (event.facts.get(key) for key in ("from", "to", "ref", "release"))
    return any(isinstance(name, str) and name.startswith(release) for name in named)


def _draw(newest: Iterator[Event], file: Path, *, limit: int, as_json: bool) -> None:
    from surefoot.observe import need

    need("plots", "matplotlib")
    from surefoot import durable
    from surefoot.update import events

    told = (events.of(event) for event in newest)
    ended = (event for event in told if isinstance(event, events.Ended) and event.durations)
    found = list(islice(ended, limit))[::-1]
    if not found:
        raise click.ClickException(
            f"No update of that kind has ended yet: there is nothing to draw. {file} was not "
            "written."
        )
    from surefoot.observe import plot

    image = plot.drawn(found, "svg" if file.suffix.lower() == ".svg" else "png")
    try:
        durable.write(file.absolute(), image)
    except OSError as error:
        raise click.BadParameter(
            f"{file} cannot be written: {error.strerror or error}.", param_hint="--plot"
        ) from None
    if as_json:
        emit({"plot": str(file), "updates": [event.update for event in found]})
    else:
        updates = "1 update" if len(found) == 1 else f"{len(found)} updates"
        click.echo(f"{file} shows {updates}.")


# -- one update


def _tell_one(home: Home, update_id: str, *, as_json: bool) -> None:
    from surefoot.update.history import History

    history = History(home)
    if update_id == "last":
        update_id = next((e.update for e in history.newest() if e.event in _OUTCOMES), "last")
    found = history.of(update_id)
    if not found:
        raise click.ClickException(
            f"The history knows no update {update_id}. `surefoot history` lists them."
        )
    report = _report(update_id, found)
    if as_json:
        emit(report)
    else:
        for line in _lines(report):
            click.echo(line)


def _report(update_id: str, found: list[Event]) -> dict[str, Any]:
    from surefoot.update import events
    from surefoot.update.history import FINAL

    told = [events.of(event) for event in found]
    begun = next((e for e in told if isinstance(e, events.Requested)), None)
    ended = next((e for e in reversed(told) if e.name in FINAL), None)
    known = ended if isinstance(ended, events.Ended) and ended.to else begun
    last = ended if isinstance(ended, events.Ended) else None
    return {
        "update": update_id,
        "kind": known.kind if known else None,
        "origin": known.origin if known else None,
        "from": known.from_ if known else None,
        "to": known.to if known else None,
        "ref": known.ref if known else None,
        "begun_at": found[0].at,
        "ended_at": ended.at if ended else None,
        "outcome": ended.name if ended else None,
        "cause": last.cause if last else None,
        "reason": (last.reason or None) if last else None,
        "healthy": last.healthy if last else None,
        "durations": last.durations if last else {},
        "output": (last.output or None) if last else None,
        "events": found,
    }


def _lines(report: dict[str, Any]) -> Iterator[str]:
    by = f", by {report['origin']}" if report["origin"] else ""
    yield f"{(report['kind'] or 'request').capitalize()} {report['update']}{by}"
    if report["to"]:
        ref = f" ({report['ref']})" if report["ref"] else ""
        yield f"From {report['from'] or 'nothing'} to {report['to']}{ref}"
    begin: datetime = report["begun_at"]
    if report["ended_at"] is None:
        yield f"Begun at {moment(begin)}, and it has not ended."
    else:
        took = span((report["ended_at"] - begin).total_seconds())
        outcome = report["outcome"].replace("_", " ")
        because = f" ({report['cause']})" if report["cause"] else ""
        yield f"Begun at {moment(begin)}; {outcome}{because} after {took}"
    yield ""
    for event in report["events"]:
        after = (event.at - begin).total_seconds()
        yield f"{after:>9.2f} s  {event.event:<19} {' '.join(event.text.split())}".rstrip()
    if durations := report["durations"]:
        yield ""
        yield from _bars(durations)
    if report["output"]:
        yield ""
        yield "What the step that failed has printed, the end of it:"
        yield from (f"  {line}" for line in report["output"].splitlines())
    elif report["cause"] in _SEEN_BY_THE_APP:
        yield ""
        yield "What the app itself has printed stands where `surefoot run` prints."


def _bars(durations: dict[str, float]) -> Iterator[str]:
    width, longest = 40, max(*durations.values(), 1e-9)
    for step, spent in durations.items():
        bar = "█" * round(width * spent / longest)
        yield f"{step.replace('_', ' '):<13} {span(spent):>8}  {bar}".rstrip()
