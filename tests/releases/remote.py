"""A real git repository to fetch from."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from surefoot.config import Source

if TYPE_CHECKING:
    from pathlib import Path


class Remote:
    """A repository with a working tree; commits are made at fixed, growing times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._time = 1_700_000_000
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", ".")

    def git(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.org",
            "GIT_AUTHOR_DATE": f"{self._time} +0000",
            "GIT_COMMITTER_DATE": f"{self._time} +0000",
        }
        return subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *arguments],
            cwd=self.folder, env=environment, check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip

    def commit(self, files: dict[str, str] | None = None, subject: str = "A change") -> str:
        """Writes the files, commits all there is and returns the commit's id."""
        self._time += 60
        for name, content in (files or {}).items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, *, annotated: bool = False) -> None:
        self.git("tag", *(["-a", "-m", name] if annotated else []), name)

    def source(self, **settings: object) -> Source:
        return Source(**{"git": str(self.folder), "timeout_s": 60, **settings})  # type: ignore[arg-type]
