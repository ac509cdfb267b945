from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from tests.needs import program

from surefoot import config
from surefoot.home import Home
from surefoot.releases.ledger import Ledger
from surefoot.releases.store import Store
from surefoot.update.databases import Databases
from surefoot.update.staging import Staging, warm

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """\
[app]
command = "python app.py"
[source]
git = "/srv/app.git"
[database]
url = "sqlite:///data/app.db"
variable = "DATABASE_URL"
"""


def test_build_commands_are_not_told_of_the_real_database(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ledger = Ledger.load(home.ledger, now=datetime.now(UTC))
    configuration, store = config.parse(CONFIGURATION), Store(home)
    databases = Databases(home, configuration, store, lambda *_: None)
    staging = Staging(home, configuration, store, databases, ledger, lambda *_, **__: None, print)
    folder = home.releases / "0123456789ab"
    told = staging._build_environment(folder)["DATABASE_URL"]
    assert told == f"sqlite:///{folder}/nothing-main.db"
    assert str(home.data) not in told


def test_what_a_start_reads_is_in_memory_before(tmp_path: Path) -> None:
    program("fincore", "util-linux")
    library = tmp_path / "release" / "app" / "fast.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(os.urandom(512 * 1024))
    with library.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_bytes(library):
        pytest.skip("this file system keeps in memory what it holds")

    warm(tmp_path / "release")

    deadline = time.monotonic() + 20
    while resident_bytes(library) < 512 * 1024:
        assert time.monotonic() < deadline, "it was not read"
        time.sleep(0.01)


def resident_bytes(path: Path) -> int:
    command = ["fincore", "--noheadings", "--bytes", "--output", "RES", str(path)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)
