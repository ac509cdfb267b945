"""`surefoot update`, `rollback` and `restore`: ask the supervisor, and watch if wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from surefoot.cli.options import with_home, with_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.home import Home

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def _with_waiting(function: _Function) -> _Function:
    """The options by which it is said how long to stay."""
    for option in (
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(min=0, min_open=True),
            metavar="S",
            help="Stop watching after so many seconds; the update goes on.",
        ),
        click.option(
            "--until",
            type=click.Choice(["staged", "ended"]),
            help="Like --wait, but `staged` ends the watching when the release is ready.",
        ),
        click.option("--wait", is_flag=True, help="Show what happens, until the update has ended."),
    ):
        function = option(function)
    return with_home(with_json(function))


@click.command()
@click.option("--to", "ref", metavar="REF", help="A tag, branch or commit; else the newest.")
@click.option(
    "--accept-data-changes",
    is_flag=True,
    help="Go on although the migration loses rows, tables or columns.",
)
@_with_waiting
def update(home: Home, ref: str | None, *, accept_data_changes: bool, **waiting: Any) -> int:
    """Bring the app to a newer release.

    To the newest one, or to the one that --to names. The supervisor does it: the old release
    serves while the new one is fetched, built and rehearsed. Whatever fails, the app is as it was.
    A migration that loses data is held, with a list of what it loses, until it is accepted.

    \b
    Examples:
      surefoot update --wait              and tell how it ended
      surefoot update --to v1.4 --wait    to this very release
      surefoot update --to v1.4 --accept-data-changes
      surefoot update --json --until staged
    """
    return _ask(home, waiting, kind="update", ref=ref, accept_data_changes=accept_data_changes)


@click.command()
@click.argument("release", required=False)
@click.option(
    "--restore-database",
    is_flag=True,
    help="Put a backup of that release in place of a database that nothing else brings back.",
)
@_with_waiting
def rollback(home: Home, release: str | None, *, restore_database: bool, **waiting: Any) -> int:
    """Go back to an earlier release.

    To the one before this one, or to RELEASE: one of `surefoot releases`, or any tag or commit.
    The data stays: the code goes back where the database still fits it, or where the app's own
    downgrade, tried on a copy, loses no row. Else it is said what would be lost, and a backup is
    put back only with --restore-database. The release that is left is not installed again by
    itself.

    After an update that ended as broken, this tries once more to put everything back.

    \b
    Examples:
      surefoot rollback --wait
      surefoot rollback v1.3 --wait
      surefoot rollback v1.3 --restore-database --wait
    """
    return _ask(home, waiting, kind="rollback", ref=release, restore_database=restore_database)


@click.command()
@click.argument("backup")
@click.option(
    "--with-release", is_flag=True, help="Bring back the release that it belongs to as well."
)
@_with_waiting
def restore(home: Home, backup: str, *, with_release: bool, **waiting: Any) -> int:
    """Put BACKUP in the place of the database.

    What was written since the backup was made is no longer in the app afterwards; the database as
    it is now is kept among the backups. BACKUP is one of `surefoot backups`.

    \b
    Examples:
      surefoot restore 20260301T101500Z_4f2c9a7b01de_main --wait
      surefoot restore 20260301T101500Z_4f2c9a7b01de_main --with-release --wait
    """
    return _ask(home, waiting, kind="restore", backup=backup, with_release=with_release)


def _ask(home: Home, waiting: dict[str, Any], *, with_release: bool = False, **wanted: Any) -> int:
    from surefoot.cli.asking import ask
    from surefoot.update.asking import request

    # Only an app that is about to end itself waits for no more than this.
    wanted["origin"] = "app" if waiting["until"] == "staged" else "cli"
    return ask(home, lambda: request(home, with_release=with_release, **wanted), **waiting)
