"""`surefoot releases` and `backups`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from surefoot.cli.options import with_home, with_json
from surefoot.cli.output import ago, busy, emit, moment, note, size, table

if TYPE_CHECKING:
    from surefoot.databases.backups import Kept
    from surefoot.home import Home


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
    from surefoot.releases.store import Store
    from surefoot.update.remembered import seen_ledger

    store = Store(home)
    current = store.current_id()
    ledger, problem = seen_ledger(home)
    if problem:
        note(problem)
    committed = {commit.release: commit.at for commit in ledger.commits}
    found: list[dict[str, Any]] = [
        {
            "id": release.id,
            "ref": release.ref,
            "version": release.version,
            "commit": release.commit,
            "current": release.id == current,
            "created_at": release.created_at,
            "committed_at": committed.get(release.id),
            "denied": ledger.denied[release.id].reason if release.id in ledger.denied else None,
        }
        for release in reversed(store.all())
    ]
    if as_json:
        emit(found)
    elif not found:
        click.echo(f"No release is installed in {home.root}. `surefoot run` installs the first.")
    else:
        table(
            ("", "RELEASE", "REF", "MADE", "IN USE SINCE", "NOTE"),
            [
                (
                    "*" if r["current"] else "",
                    r["id"],
                    r["ref"],
                    moment(r["created_at"]),
                    moment(r["committed_at"]),
                    f"denied: {r['denied']}" if r["denied"] is not None else "",
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
    from surefoot.databases.backups import all as all_backups

    kept = all_backups(home.backups)
    found = [_backup(backup) for backup in kept]
    if verify:
        for report, backup in zip(found, kept, strict=True):
            with busy(f"Reading {backup.name}"):
                report["damage"] = report["damage"] or _damage(backup)
    if as_json:
        emit(found)
    elif not found:
        click.echo(f"There is no backup in {home.backups}. Every update makes one.")
    else:
        _show_backups(found, verified=verify)
    return 1 if verify and any(report["damage"] for report in found) else 0


def _backup(kept: Kept) -> dict[str, Any]:
    facts = kept.facts
    return {
        "name": kept.name,
        "file": str(kept.file),
        "damage": kept.damage or None,
        "kind": facts.kind if facts else None,
        "made_at": facts.made_at if facts else None,
        "database": facts.database if facts else None,
        "release": facts.release if facts else None,
        "update": facts.update if facts else None,
        "size_bytes": facts.size_bytes if facts else None,
    }


def _damage(kept: Kept) -> str | None:
    from surefoot.databases.backups import verify
    from surefoot.errors import DatabaseError

    try:
        verify(kept)
    except DatabaseError as error:
        return error.message
    return None


def _show_backups(found: list[dict[str, Any]], *, verified: bool) -> None:
    good = "whole" if verified else ""
    table(
        ("BACKUP", "MADE", "DATABASE", "RELEASE", "SIZE", "NOTE"),
        [
            (
                b["name"],
                ago(b["made_at"]) if b["made_at"] else "-",
                b["database"] or "-",
                b["release"] or "-",
                size(b["size_bytes"]) if b["size_bytes"] is not None else "-",
                f"DAMAGED: {b['damage']}"
                if b["damage"]
                else " ".join(("replaced", good) if b["kind"] == "replaced" else (good,)).strip(),
            )
            for b in found
        ],
    )
