"""What docs/guide/servers.md says of each server is so, with its very commands and code."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.app.load import CLIENTS, RESTARTS, Load, under_load
from tests.app.test_serve import held, port_of, started

if TYPE_CHECKING:
    import socket

    from tests.app.conftest import Home

__all__ = ["held"]

GUIDE = (Path(__file__).parents[2] / "docs/guide/servers.md").read_text(encoding="utf-8")
SAMPLES = {"shop": "sample_wsgi", "main": "sample_asgi"}


def blocks(server: str, language: str) -> list[str]:
    section = GUIDE.partition(f"\n## {server}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def restarted(home: Home, held: socket.socket, server: str, number: int = 0) -> Load:
    """Three restarts under load, started as the guide says.

    O_NONBLOCK is shared with all who have the socket: none of them may take it away.
    """
    held.setblocking(False)
    command = tomllib.loads(blocks(server, "toml")[number])["app"]["command"]
    for module, sample in SAMPLES.items():
        command = command.replace(f"{module}:app", f"{sample}:app")
    program, *arguments = shlex.split(command)
    if program != "python":
        arguments = ["-m", program, *arguments]
    for code in blocks(server, "python"):
        text = re.sub("from (shop|main) import", lambda m: f"from {SAMPLES[m[1]]} import", code)
        (home.root / "serve.py").write_text(text)
    load = under_load(port_of(held), lambda: started(home, [sys.executable, *arguments], held))
    assert not os.get_blocking(held.fileno())
    return load


@pytest.mark.parametrize(
    "server",
    [
        "uvicorn",
        "gunicorn",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("waitress", "hypercorn")),
    ],
)
def test_no_request_is_lost(home: Home, held: socket.socket, server: str) -> None:
    load = restarted(home, held, server)
    assert (load.failures, set(load.answers)) == ([], {200}), (home.root / "log").read_text()


@pytest.mark.parametrize(
    ("server", "number"), [("uvicorn", 1), pytest.param("daphne", 0, marks=pytest.mark.slow)]
)
def test_nobody_is_refused(home: Home, held: socket.socket, server: str, number: int) -> None:
    """These lose what they have accepted, and no more than that."""
    load = restarted(home, held, server, number)
    assert [failure for failure in load.failures if "Refused" in failure] == []
    assert len(load.failures) <= RESTARTS * CLIENTS
    assert set(load.answers) == {200}
