"""Whether the app's server takes the sockets that are held while releases change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from surefoot.cli.doctor.check import Finding, Subject, ok, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALWAYS = r""
_NEVER = r"(?!)"


@dataclass(frozen=True)
class _Server:
    name: str
    command: str
    """How it is started, as a pattern."""
    takes: str
    """What in its command makes it take a held socket, as a pattern."""
    advice: str

    def is_started_by(self, command: str) -> bool:
        return re.search(rf"(?:^|[\s/])(?:{self.command})(?:\s|$)", command) is not None

    def takes_it(self, command: str) -> bool:
        return re.search(self.takes, command) is not None


_SERVE = "Start it with `python -m surefoot.app.serve MODULE:APP`."
_GUNICORN = "Serve it with gunicorn: `gunicorn -c python:surefoot.app.gunicorn MODULE:APP`."
_SERVERS = (
    _Server("surefoot.app.serve", r"surefoot\.app\.serve", _ALWAYS, ""),
    _Server("gunicorn", "gunicorn", _ALWAYS, ""),
    _Server("uvicorn", "uvicorn", r"--fd[ =]", f"{_SERVE} Or give it `--fd 3` and no port."),
    _Server("hypercorn", "hypercorn", r"fd://", "Give it `--bind fd://3` and no other address."),
    _Server("daphne", "daphne", r"--fd[ =]", "Give it `--fd 3` and no port."),
    _Server("waitress", "waitress-serve", _NEVER, "waitress takes it from Python only."),
    _Server("fastapi", r"fastapi (?:run|dev)", _NEVER, _SERVE),
    _Server("flask", r"flask\b.* run", _NEVER, _GUNICORN),
    _Server("Django", r"manage\.py runserver", _NEVER, _GUNICORN),
    _Server("http.server", r"http\.server", _NEVER, ""),
)


def sockets(subject: Subject) -> Iterator[Finding]:
    """Whether connections wait, or are refused, while the app is away."""
    app = subject.settings.app
    found = [
        (server, command)
        for command in app.commands().values()
        for server in _SERVERS
        if server.is_started_by(command)
    ]
    takers = [server.name for server, command in found if server.takes_it(command)]
    binders = [server for server, command in found if not server.takes_it(command)]
    if takers and app.listen:
        yield ok(f"{', '.join(takers)} takes what is held: nobody is refused.")
    elif takers:
        yield warning(
            f"Nothing is held for {', '.join(takers)}: whoever comes during an update is refused.",
            'Name the address: [app] listen = ["127.0.0.1:8000"].',
        )
    for server in binders:
        yield _of_binder(server, held=app.listen if not takers else [])
    if not found and app.listen:
        yield ok("Held, on descriptor 3; whether the app's command takes it cannot be seen.")
    elif not found:
        yield ok("None is held, and the app's command names no server that would take one.")


def _of_binder(server: _Server, held: list[str]) -> Finding:
    advice = f"{server.advice} See docs/guide/servers.md.".strip()
    if held:
        return problem(
            f"{server.name} opens its address by itself, while {', '.join(held)} is held for it: "
            "nobody would answer there.",
            f"{advice} Or remove `listen` from [app].",
        )
    return warning(
        f"{server.name} opens its address by itself: whoever comes during an update is refused.",
        f'{advice} And name the address: [app] listen = ["127.0.0.1:8000"].',
    )
