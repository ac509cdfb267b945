"""One file of one home, fuzzed in a process of its own: target NAME HOME FILE LIBFUZZER..."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

with atheris.instrument_imports(include=["surefoot", "tomllib", "dotenv"]):
    import tomllib  # noqa: F401 - the reader under surefoot.toml is followed too

    import dotenv  # noqa: F401 - and that under .env
    from click.testing import CliRunner

    from surefoot import config
    from surefoot.app import lockfile
    from surefoot.cli.main import MEANINGS, surefoot
    from surefoot.databases import backups
    from surefoot.errors import SurefootError
    from surefoot.home import Home
    from surefoot.observe import delivery
    from surefoot.releases import environment
    from surefoot.releases.ledger import Ledger
    from surefoot.releases.store import Store
    from surefoot.update import hold, requests
    from surefoot.update.history import History
    from surefoot.update.lock import Lock, sealed

from tests.damage.test_files import READERS, listed

if TYPE_CHECKING:
    from collections.abc import Callable

READ: dict[str, Callable[[Home], object]] = {
    "lock": lambda home: (lockfile.read(str(home.root)), Lock(home).read()),
    "history": lambda home: list(History(home).read()),
    "ledger": lambda home: Ledger.read(home.ledger),
    "release": lambda home: Store(home).all(),
    "older release": lambda home: Store(home).all(),
    "environment": lambda home: [
        environment.is_whole(home.environments, e.name) for e in home.environments.iterdir()
    ],
    "backup": lambda home: backups.all(home.backups),
    "request": requests.waiting,
    "configuration": lambda home: config.load(home.root, {}),
    ".env": lambda home: config.load(home.root, {}),
    "hold": hold.held,
    "delivered": delivery.places,
}


def main() -> None:
    name, root, path, *options = sys.argv[1:]
    home, file = Home(Path(root)), Path(path)
    file.parent.mkdir(exist_ok=True)
    runner = CliRunner()

    def invent(content: bytes) -> None:
        """What the reader refuses is refused to everybody; what it takes, all of them are shown."""
        file.write_bytes(sealed(content) if name == "lock" and content[-1:] == b"}" else content)
        try:
            READ[name](home)
        except (SurefootError, lockfile.LockUnreadable):
            return
        before = listed(home)
        for command in READERS:
            result = runner.invoke(surefoot, [*command, "--home", root], env={"SUREFOOT_HOME": ""})
            if not isinstance(result.exception, SystemExit | None):
                raise result.exception
            assert result.exit_code in MEANINGS, result.exit_code
            assert "Traceback" not in result.output, result.output
            assert "This is a bug" not in result.output, result.output
        assert listed(home) == before

    atheris.Setup([sys.argv[0], *options], invent)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
