"""`surefoot releases` and `backups`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import ago, busy, emit, moment, note, size, table

if TYPE_CHECKING:
    from surefoot.databases.backups import Kept
    from surefoot.home import Home
    from surefoot.reports import Backup


@click.command()
@with_home
@with_json
def releases(home: Home, *, as_json: bool) -> None:
    """List the releases on disk, the newest first.

    `surefoot rollback RELEASE` goes to any of them; to others too, which are fetched again.

    \b
    Examples:
      surefoot releases
      surefoot releases --json | jq -r '.[].id'
    """
    from surefoot import reports

    found, problem = reports.releases(home)
    if problem:
        note(problem)
    if as_json:
        emit(found)
    elif not found:
        click.echo(f"No release is installed in {home.root}. `surefoot run` installs the first.")
    else:
        table(
            ("", "RELEASE", "REF", "MADE", "IN USE SINCE", "NOTE"),
            [
                (
                    "*" if r.current else "",
                    r.id,
                    r.ref,
                    moment(r.created_at),
                    moment(r.committed_at),
                    f"denied: {r.denied}" if r.denied is not None else "",
                )
                for r in found
            ],
        )


@click.command()
@click.option("--verify", is_flag=True, help="Read every backup and compare it with its checksum.")
@with_home
@with_json
def backups(home: Home, *, verify: bool, as_json: bool) -> int:
    """List the database backups, the newest first.

    One is made before every update, while the app serves. `surefoot restore BACKUP` puts one
    back. With --verify it ends with 1 if one of them is damaged.

    \b
    Examples:
      surefoot backups
      surefoot backups --verify
    """
    from msgspec.structs import replace

    from surefoot import reports
    from surefoot.databases.backups import all as all_backups

    kept = all_backups(home.backups)
    found = [reports.backup(one) for one in kept]
    if verify:
        for number, one in enumerate(kept):
            with busy(f"Reading {one.name}"):
                damage = found[number].damage or _damage(one)
            found[number] = replace(found[number], damage=damage)
    if as_json:
        emit(found)
    elif not found:
        click.echo(f"There is no backup in {home.backups}. Every update makes one.")
    else:
        _show_backups(found, verified=verify)
    return 1 if verify and any(report.damage for report in found) else 0


def _damage(kept: Kept) -> str | None:
    from surefoot.databases.backups import verify
    from surefoot.errors import DatabaseError

    try:
        verify(kept)
    except DatabaseError as error:
        return error.message
    return None


def _show_backups(found: list[Backup], *, verified: bool) -> None:
    good = "whole" if verified else ""
    table(
        ("BACKUP", "MADE", "DATABASE", "RELEASE", "SIZE", "NOTE"),
        [
            (
                b.name,
                ago(b.made_at) if b.made_at else "-",
                b.database or "-",
                b.release or "-",
                size(b.size_bytes) if b.size_bytes is not None else "-",
                f"DAMAGED: {b.damage}"
                if b.damage
                else " ".join(("replaced", good) if b.kind == "replaced" else (good,)).strip(),
            )
            for b in found
        ],
    )
