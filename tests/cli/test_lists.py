"""Releases, backups and the history, for people and for programs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import install

from surefoot.databases import backups
from surefoot.releases.ledger import Ledger

if TYPE_CHECKING:
    from tests.cli.conftest import Commands
    from tests.releases.remote import Remote


@pytest.mark.parametrize("command", ["releases", "backups", "history"])
def test_where_there_is_nothing_it_says_so_and_the_array_is_empty(
    run: Commands, command: str
) -> None:
    assert run(command, "--json").json == []
    assert len(run(command).out.splitlines()) == 1


def test_releases_newest_first_with_the_one_in_use_and_the_denied(
    run: Commands, remote: Remote
) -> None:
    first = install(run.home, remote.git("rev-parse", "HEAD"), "v1.0")
    second = install(run.home, remote.commit({"a": "b"}), "v1.1")
    now = datetime.now(UTC)
    Ledger.load(run.home.ledger, now=now).deny(first.id, "It was rolled back by hand.", now)

    found = run("releases", "--json").json

    assert [(r["id"], r["ref"], r["current"]) for r in found] == [
        (second.id, "v1.1", True),
        (first.id, "v1.0", False),
    ]
    assert found[1]["denied"] == "It was rolled back by hand."
    rows = run("releases").out.splitlines()
    assert rows[1].startswith("*")
    assert "denied: It was rolled back by hand." in rows[2]


@pytest.fixture
def backup(run: Commands) -> str:
    source = run.home.data / "app.db"
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("CREATE TABLE note (text)")
    return backups.make(run.home.backups, source, database="main", release="0123456789ab").name


def test_backups_with_what_is_known_of_them(run: Commands, backup: str) -> None:
    (found,) = run("backups", "--json").json

    assert (found["name"], found["database"], found["release"]) == (backup, "main", "0123456789ab")
    assert found["damage"] is None
    assert backup in run("backups").out


def test_verifying_whole_backups_ends_with_0(run: Commands, backup: str) -> None:
    answer = run("backups", "--verify")

    assert answer.code == 0
    assert "whole" in answer.out
    assert f"Reading {backup}" in answer.err


def test_verifying_finds_what_a_look_does_not(run: Commands, backup: str) -> None:
    file = run.home.backups / f"{backup}.db"
    file.write_bytes(file.read_bytes().replace(b"note", b"nope"))

    looked, verified = run("backups"), run("backups", "--verify", "--json")

    assert (looked.code, verified.code) == (0, 1)
    assert "is damaged" in verified.json[0]["damage"]
