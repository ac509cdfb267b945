"""The published design's second layer, made again from its description, around an unchanged app.

`trigger_update` copies the database, writes the lock and ends the process with 10 (here at SIGUSR1,
in place of a button); `post_update_bootstrap`, the first thing at the start, migrates with Alembic
and puts the copy back if that fails; a middleware answers 503 while the lock exists.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn

EXIT_CODE_UPDATE = 10
DATABASE = Path("data/notes.db")
LOCK = Path("data/UPDATE_LOCK.json")
BACKUPS = Path("data/backups/auto_update")


def trigger_update() -> None:
    """Copies the database and makes the request durable."""
    BACKUPS.mkdir(parents=True, exist_ok=True)
    backup = BACKUPS / f"database_{time.strftime('%Y%m%d_%H%M%S')}.db"
    shutil.copy2(DATABASE, backup)
    with LOCK.open("w") as file:
        json.dump({"timestamp": time.time(), "db_backup": str(backup)}, file)
        file.flush()
        os.fsync(file.fileno())


def post_update_bootstrap() -> None:
    """Completes an update: migrates, or puts the database back."""
    if not LOCK.exists():
        return
    try:
        backup = json.loads(LOCK.read_text())["db_backup"]
    except ValueError:
        LOCK.unlink()
        return
    done = subprocess.run([".venv/bin/alembic", "upgrade", "head"], check=False)
    if done.returncode:
        shutil.copy2(backup, DATABASE)
    LOCK.unlink()
    if done.returncode:
        sys.exit("The migration failed; the database was put back.")


class Maintenance:
    """503 while the lock exists."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not LOCK.exists():
            await self.app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"retry-after", b"5")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"code":"UPDATING"}'})


def main() -> int:
    post_update_bootstrap()
    from main import app  # type: ignore[import-not-found]  # the release's

    server = uvicorn.Server(
        uvicorn.Config(Maintenance(app), port=int(os.environ["PORT"]), access_log=False)
    )
    asked = False

    def on_update(*_: object) -> None:
        nonlocal asked
        trigger_update()
        asked, server.should_exit = True, True

    signal.signal(signal.SIGUSR1, on_update)
    server.run()
    return EXIT_CODE_UPDATE if asked else 0


if __name__ == "__main__":
    sys.exit(main())
