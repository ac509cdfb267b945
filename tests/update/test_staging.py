from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from surefoot import config
from surefoot.home import Home
from surefoot.releases.ledger import Ledger
from surefoot.releases.store import Store
from surefoot.update.databases import Databases
from surefoot.update.staging import Staging

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
