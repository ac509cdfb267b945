"""A small HTTP server that says "in a moment" to whoever comes while no app may serve.

Connections first wait in the kernel's queue, unanswered and not refused; a usual cutover is over
before `hold_s` is, and nobody notices more than a slow answer. After that everybody is answered
503 and the connection is closed. State per client is a few hundred bytes, so ten thousand of them
do no harm; whoever is slow to ask or to read is dropped after CLIENT_TIMEOUT_S.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.app.maintenance import Answer

HEAD_LIMIT_BYTES = 16 * 1024
CLIENT_TIMEOUT_S = 10.0
LINGER_S = 2.0
"""How long what a client goes on sending is read and dropped, so that it sees the answer first."""
ACCEPTS_AT_ONCE = 256
BACKLOG = 4096


@dataclass(frozen=True)
class Request:
    """As much of a request as an answer depends on."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    deadline_s: float
    received: bytes = b""
    to_send: bytes = b""
    answered: bool = False


@dataclass
class Gate:
    """Closed from `close()` until `open()` returns; both may be called again."""

    sockets: list[socket.socket]
    answer: Callable[[Request], Answer]
    hold_s: float
    _loop: _Loop | None = field(init=False, default=None)
    _wake: int = field(init=False, default=-1)

    def close(self) -> None:
        """Lets connections wait, and answers them from `hold_s` seconds on.

        Called again when the app has ended, it mends what the app has done to the sockets: servers
        set a backlog of their own, and some leave a socket deaf behind.
        """
        for held in self.sockets:
            held.setblocking(False)  # shared with every process: the next server relies on it too
            held.listen(BACKLOG)
        if self._loop is not None or not self.sockets:
            return
        woken, self._wake = os.pipe()
        self._loop = _Loop(self.sockets, self.answer, self.hold_s, woken)
        threading.Thread(target=self._loop.serve, daemon=True).start()

    def open(self) -> int:
        """Takes no connection any more once this returns; those it has still get their answer.

        Returns how many it has taken since it was closed.
        """
        if self._loop is None:
            return 0
        os.close(self._wake)
        self._loop.has_stopped.wait()
        taken, self._loop = self._loop.taken, None
        return taken


@dataclass
class _Loop:
    sockets: list[socket.socket]
    answer: Callable[[Request], Answer]
    hold_s: float
    woken: int
    taken: int = 0
    has_stopped: threading.Event = field(default_factory=threading.Event)
    """It accepts nobody any more."""
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    clients: set[socket.socket] = field(default_factory=set)
    swept_at_s: float = 0.0

    def serve(self) -> None:
        try:
            with self.selector:
                self.selector.register(self.woken, selectors.EVENT_READ)
                if not self.selector.select(self.hold_s):
                    for held in self.sockets:
                        self.selector.register(held, selectors.EVENT_READ)
                    self._run()
        finally:
            self.has_stopped.set()
            os.close(self.woken)

    def _run(self) -> None:
        """Serves until woken, then gives those that were accepted a last moment."""
        last_s = float("inf")
        while time.monotonic() < last_s:
            for key, mask in self.selector.select(0.5):
                if key.fd == self.woken:
                    last_s = self._stop_accepting()
                elif isinstance(key.data, _Client):
                    self._go_on(key.data, mask)
                else:
                    self._accept(key.fileobj)  # type: ignore[arg-type] # only sockets are left
            self._sweep()
            if last_s != float("inf") and not self.clients:
                return
        for client in list(self.selector.get_map().values()):
            if isinstance(client.data, _Client):
                self._drop(client.data)

    def _stop_accepting(self) -> float:
        self.selector.unregister(self.woken)
        for key in list(self.selector.get_map().values()):
            if not isinstance(key.data, _Client):
                self.selector.unregister(key.fileobj)
        self.has_stopped.set()
        return time.monotonic() + 1.0

    def _accept(self, held: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, _address = held.accept()
            except OSError:  # nobody is left, or no descriptor is: try again in the next round
                return
            connection.setblocking(False)
            client = _Client(connection, time.monotonic() + CLIENT_TIMEOUT_S)
            self.taken += 1
            self.clients.add(connection)
            self.selector.register(connection, selectors.EVENT_READ, client)

    def _go_on(self, client: _Client, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                self._read(client)
            if mask & selectors.EVENT_WRITE:
                self._write(client)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _read(self, client: _Client) -> None:
        chunk = client.socket.recv(HEAD_LIMIT_BYTES)
        if not chunk:
            self._drop(client)
        elif not client.answered:
            client.received += chunk
            if b"\r\n\r\n" in client.received or len(client.received) >= HEAD_LIMIT_BYTES:
                request = _parsed(client.received)
                answer = self.answer(request)
                client.to_send = _encoded(answer, head_only=request.method == "HEAD")
                client.received = b""
                client.answered = True
                self._write(client)

    def _write(self, client: _Client) -> None:
        if client.to_send:
            with contextlib.suppress(BlockingIOError):
                sent = client.socket.send(client.to_send)
                client.to_send = client.to_send[sent:]
        if client.to_send:
            self.selector.modify(
                client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, client
            )
            return
        client.socket.shutdown(socket.SHUT_WR)
        client.deadline_s = time.monotonic() + LINGER_S
        self.selector.modify(client.socket, selectors.EVENT_READ, client)

    def _sweep(self) -> None:
        now_s = time.monotonic()
        if now_s - self.swept_at_s < 0.5:
            return
        self.swept_at_s = now_s
        for key in list(self.selector.get_map().values()):
            if isinstance(key.data, _Client) and key.data.deadline_s < now_s:
                self._drop(key.data)

    def _drop(self, client: _Client) -> None:
        if client.socket in self.clients:
            self.clients.discard(client.socket)
            self.selector.unregister(client.socket)
            client.socket.close()


def _encoded(answer: Answer, *, head_only: bool) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Service Unavailable", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only else head + answer.body


def _parsed(head: bytes) -> Request:
    """What can be made out; rubbish gets an answer as well."""
    lines = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    target = rest.partition(" ")[0]
    pairs = (line.partition(":") for line in lines[1:])
    return Request(
        method=method.upper(),
        path=target.partition("?")[0] or "/",
        headers={name.strip().lower(): value.strip() for name, _, value in pairs},
    )
