"""A home, a lock, and an engine that answers as it is told."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OURS = ("SUREFOOT_", "LISTEN_", "NOTIFY_SOCKET", "AUTO_UPDATE_ENABLED", "UPDATE_")


@dataclass(frozen=True)
class Home:
    """A home as an app finds it."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "data" / "UPDATE_LOCK.json"

    @property
    def asked(self) -> Path:
        """What the engine was asked, one line per time."""
        return self.root / "asked"

    def write_lock(self, state: str, **facts: Any) -> None:
        known = {"id": "1", "state": state, "from": "aaa", "to": "bbb", "ref": "v2"}
        known |= {"token": "secret", "reason": "", "since": "2026-11-23T20:14:05+00:00"}
        temporary = self.lock.with_suffix(".new")
        temporary.write_text(json.dumps(known | facts, separators=(",", ":")))
        temporary.replace(self.lock)

    def engine(self, answer: object, code: int = 0, *, wait_for: str = "", error: str = "") -> Path:
        """An executable to be SUREFOOT_PYTHON; waits until the file `wait_for` is there."""
        text = answer if isinstance(answer, str) else json.dumps(answer)
        waiting = f"while [ ! -e {self.root}/{wait_for} ]; do sleep 0.02; done" if wait_for else ":"
        program = self.root / "engine"
        program.write_text(
            "#!/bin/sh\n"
            f'echo "$*" >> {self.asked}\n{waiting}\n'
            f"printf %s {shlex.quote(error)} >&2\necho {shlex.quote(text)}\nexit {code}\n"
        )
        program.chmod(0o755)
        return program

    def environment(self, **more: str) -> dict[str, str]:
        """For a process of the app."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
        source = str(Path(__file__).parents[2] / "src")
        return clean | {
            "SUREFOOT_HOME": str(self.root),
            "SUREFOOT_PYTHON": str(self.root / "engine"),
            "SUREFOOT_STOP_GRACE": "20",
            "PYTHONPATH": source,
            "PYTHONUNBUFFERED": "1",
            **more,
        }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """This process is an app in a new home."""
    for key in list(os.environ):
        if key.startswith(OURS):
            monkeypatch.delenv(key)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("SUREFOOT_HOME", str(tmp_path))
    monkeypatch.setenv("SUREFOOT_PYTHON", str(tmp_path / "engine"))
    return Home(tmp_path)


@pytest.fixture
def python() -> str:
    return sys.executable
