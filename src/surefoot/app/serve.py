"""`python -m surefoot.app.serve main:app [uvicorn's options]`: uvicorn under Surefoot.

uvicorn does not know LISTEN_FDS, the protocol by which listening sockets outlive the app. This
launcher serves on such sockets where there are some, and else binds as uvicorn's options say. It
can serve in private first, beside the release in use (`surefoot.app.beside`). On SIGTERM no
accepted connection is lost. The maintenance answer is put in front of the app; `--no-maintenance`
leaves it out. All other options are uvicorn's own.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from surefoot.app import beside, surroundings

if TYPE_CHECKING:
    import socket

    from surefoot.app import draining

logger = logging.getLogger("uvicorn.error")

FIRST_DESCRIPTOR = 3
STARTUP_FAILURE = 3
"""As uvicorn's own, which has moved between its versions."""
NO_MAINTENANCE = "--no-maintenance"


def main(arguments: list[str] | None = None) -> None:
    """Serves until it is told to end."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        from surefoot.app import draining
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        sys.exit("surefoot.app.serve needs uvicorn: add `uvicorn` to the app's dependencies.")
    options = _parse([argument for argument in given if argument != NO_MAINTENANCE])
    app_folder = options.pop("app_dir")
    if app_folder is not None:
        sys.path.insert(0, app_folder)
    config = draining.Config(options.pop("app"), maintenance=NO_MAINTENANCE not in given, **options)
    _serve(config, held_sockets(config.backlog))


def held_sockets(backlog: int) -> list[socket.socket]:
    """The listening sockets that were passed to this very process (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    numbers = range(int(count) if count.isdecimal() else 0)
    return [beside.prepared(FIRST_DESCRIPTOR + number, backlog) for number in numbers]


def _parse(arguments: list[str]) -> dict[str, Any]:
    """uvicorn's own options, by its own parser, in the shape that its Config takes."""
    from uvicorn.main import main as command

    context = command.make_context("surefoot.app.serve", arguments)
    options = dict(context.params)
    options["headers"] = [tuple(header.split(":", 1)) for header in options["headers"]]
    for key in ("reload_dirs", "reload_includes", "reload_excludes"):
        options[key] = list(options[key]) or None
    if options["log_config"] is None:
        del options["log_config"]  # uvicorn's default is not None
    return options


def _serve(config: draining.Config, sockets: list[socket.socket]) -> None:
    from uvicorn.supervisors import ChangeReload

    from surefoot.app import draining

    server = draining.Server(config)
    if place := surroundings.private_place():
        _serve_beside(server, place)
    elif config.should_reload:
        ChangeReload(config, target=server.run, sockets=sockets or [config.bind_socket()]).run()
    elif config.workers > 1:
        draining.workers(server, sockets or [config.bind_socket()]).run()
    else:
        _serve_alone(server, sockets)


def _serve_beside(server: draining.Server, place: str) -> None:
    """In private, until the sockets come."""
    if server.config.should_reload or server.config.workers > 1:
        sys.exit("Beside the release in use one process can serve: no --reload and no --workers.")
    server.taking = beside.listen(place + beside.TAKE)
    _serve_alone(server, [beside.listen(place)])


def _serve_alone(server: draining.Server, sockets: list[socket.socket]) -> None:
    config = server.config
    config.load()
    for held in sockets:
        logger.info("Uvicorn running on a held socket: %s", held.getsockname())
    try:
        server.run(sockets=sockets or None)
    except KeyboardInterrupt:
        pass
    finally:
        if config.uds and os.path.exists(config.uds):  # noqa: PTH110 - no pathlib at the start
            os.remove(config.uds)  # noqa: PTH107
    if not server.started:
        sys.exit(STARTUP_FAILURE)


if __name__ == "__main__":
    main()
