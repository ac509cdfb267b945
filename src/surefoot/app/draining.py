"""uvicorn that loses no connection when it ends. Imported only where uvicorn is there.

uvicorn closes every connection that has no request yet as soon as it is told to end. One that was
accepted a moment before, its request still on the way, would be lost: so the listeners are closed
first, and what was accepted gets DRAIN_S to be read.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import multiprocess

from surefoot.app import beside
from surefoot.app.asgi import MaintenanceMiddleware

if TYPE_CHECKING:
    import socket

DRAIN_S = 0.25
"""Measured: with it, none of some hundred thousand requests was lost over 24 restarts."""
STEP_S = 0.01
CLOSE_HEADER = (b"connection", b"close")


class Config(uvicorn.Config):
    """As uvicorn's, with the maintenance answer in front of the app."""

    def __init__(self, app: Any, *, maintenance: bool, **options: Any) -> None:
        self.maintenance = maintenance
        super().__init__(app, **options)

    def load(self) -> None:
        super().load()
        if self.maintenance:
            self.loaded_app = MaintenanceMiddleware(self.loaded_app)


class Server(uvicorn.Server):
    """As uvicorn's; closes its listeners first and then drains."""

    taking: socket.socket | None = None
    """Where the public sockets are handed over to it, if it has none yet."""
    _waiting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.taking is not None and self.started:
            self._waiting = asyncio.create_task(self._take_over(self.taking))

    async def _take_over(self, taking: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        is_public = False
        async for connection, descriptors in beside.handed_over(taking):
            for descriptor in descriptors:
                if is_public:  # whoever hands them over did not hear the answer, and asks again
                    os.close(descriptor)
                    continue
                public = beside.prepared(descriptor, self.config.backlog)
                server = await loop.create_server(
                    self._protocol, sock=public, ssl=self.config.ssl, backlog=self.config.backlog
                )
                self.servers.append(server)
            is_public = True
            await loop.sock_sendall(connection, beside.ACCEPTING)

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes it in its own `startup`."""
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        if not getattr(self.config, "http2", False):  # which has no such header
            # Whoever is answered from here on comes again over a new connection.
            self.server_state.default_headers = [*self.server_state.default_headers, CLOSE_HEADER]
        await self._drain()
        for connection in list(self.server_state.connections):
            if _is_idle(connection):
                connection.shutdown()
        await asyncio.sleep(STEP_S)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        elif not self.force_exit:  # nothing is left to wait for, as uvicorn would for 0.1 seconds
            await self.lifespan.shutdown()

    async def _drain(self) -> None:
        for step in range(round(DRAIN_S / STEP_S)):
            if self.force_exit:
                return
            # Connections are known a few rounds of the loop after they were accepted.
            if step > 2 and not self.server_state.connections:
                return
            await asyncio.sleep(STEP_S)


def _is_idle(connection: Any) -> bool:
    """Whether it has no request under way. A websocket, which has no such cycle, is never idle."""
    if not hasattr(connection, "cycle"):
        return False
    return connection.cycle is None or bool(connection.cycle.response_complete)


class Worker(multiprocess.Process):
    """A worker process that ends as `Server` does."""

    @property
    def server(self) -> Server:
        if self._server is None:
            self._server = Server(config=self.config)
        assert isinstance(self._server, Server)  # noqa: S101 - set above
        return self._server


def workers(server: Server, sockets: list[socket.socket]) -> multiprocess.Multiprocess:
    """The parent of several workers, each of which ends as `Server` does."""
    if "target" in inspect.signature(multiprocess.Multiprocess).parameters:  # older uvicorn
        return multiprocess.Multiprocess(  # type: ignore[call-arg]
            server.config, target=server.run, sockets=sockets
        )
    multiprocess.Process = Worker  # type: ignore[misc]
    return multiprocess.Multiprocess(server.config, sockets=sockets)
