"""A small HTTP server that says "in a moment" to whoever comes while no app may serve.

Connections first wait in the kernel's queue, unanswered and not refused; a usual cutover is over
before `hold_s` is, and nobody notices more than a slow answer. After that everybody is answered
503 and the connection is closed. While an app starts on the same sockets, it has precedence: the
gate then only looks at the queue now and then.

What it holds is limited, whatever the clients do: MAX_CLIENTS of them, the rest wait in the
kernel's queue; BUFFER_BYTES of what they have sent, whoever goes beyond that is answered by what is
known; answers that are alike are there once. Whoever is slow to ask or to read is dropped after
CLIENT_TIMEOUT_S.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from surefoot.gate.messages import Request, encoded, parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from surefoot.app.maintenance import Answer

HEAD_LIMIT_BYTES = 16 * 1024
CLIENT_TIMEOUT_S = 10.0
LINGER_S = 2.0
"""How long what a client goes on sending is read and dropped, so that it sees the answer first."""
MAX_CLIENTS = 10_000
DESCRIPTORS = MAX_CLIENTS + 1000
"""As many may be open, where the machine allows it; usual is 1,024."""
BUFFER_BYTES = 4 * 1024 * 1024
ACCEPTS_AT_ONCE = 256
GLANCE_S = 0.1
"""How often the queue is looked at where that is not done all the time."""
BACKLOG = 4096

_WATCH, _STEP_ASIDE = b"w", b"a"


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    deadline_s: float
    received: bytes = b""
    to_send: memoryview | None = None
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
        if not self.sockets:
            return
        if self._loop is not None:
            os.write(self._wake, _WATCH)
            return
        woken, self._wake = os.pipe()
        self._loop = _Loop(self.sockets, self.answer, self.hold_s, woken)
        threading.Thread(target=self._loop.serve, daemon=True).start()

    def step_aside(self) -> None:
        """Leaves it to the app to take connections; those that nobody has taken after a while, and
        not before `hold_s`, still get their answer."""
        if self._loop is not None:
            os.write(self._wake, _STEP_ASIDE)

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
    clients: dict[socket.socket, _Client] = field(default_factory=dict)
    buffered_bytes: int = 0
    is_aside: bool = False
    is_watching: bool = False
    """The selector tells of whoever comes."""
    glanced_at_s: float = 0.0
    swept_at_s: float = 0.0

    def serve(self) -> None:
        try:
            with self.selector:
                self.selector.register(self.woken, selectors.EVENT_READ)
                if self._hold():
                    self._run()
        finally:
            self.has_stopped.set()
            os.close(self.woken)

    def _hold(self) -> bool:
        """Whether nobody has opened it meanwhile."""
        end_s = time.monotonic() + self.hold_s
        while (left_s := end_s - time.monotonic()) > 0:
            if self.selector.select(left_s) and not self._heard():
                return False
        return True

    def _heard(self) -> bool:
        """Whether it is still to be closed."""
        said = os.read(self.woken, 100)
        self.is_aside = said[-1:] == _STEP_ASIDE
        return bool(said)

    def _run(self) -> None:
        """Serves until woken, and then those that it has; they all have a deadline."""
        while self.clients or not self.has_stopped.is_set():
            if not self.has_stopped.is_set():
                self._look_at_queue()
            for key, mask in self.selector.select(GLANCE_S):
                if key.fd == self.woken:
                    if not self._heard():
                        self._stop_accepting()
                elif isinstance(key.data, _Client):
                    self._go_on(key.data, mask)
                elif self.is_watching:
                    self._accept(key.fileobj)  # type: ignore[arg-type] # only sockets are left
            self._sweep()

    def _look_at_queue(self) -> None:
        """All the time, or only now and then: where the app goes first, and where there is no room
        for more, which the selector would tell of again and again."""
        self._watch(wanted=not self.is_aside and len(self.clients) < MAX_CLIENTS)
        now_s = time.monotonic()
        if not self.is_watching and now_s - self.glanced_at_s >= GLANCE_S:
            self.glanced_at_s = now_s
            for held in self.sockets:
                self._accept(held)

    def _watch(self, *, wanted: bool) -> None:
        if wanted != self.is_watching:
            self.is_watching = wanted
            for held in self.sockets:
                if wanted:
                    self.selector.register(held, selectors.EVENT_READ)
                else:
                    self.selector.unregister(held)

    def _stop_accepting(self) -> None:
        self.selector.unregister(self.woken)
        self._watch(wanted=False)
        self.has_stopped.set()

    def _accept(self, held: socket.socket) -> None:
        for _ in range(min(ACCEPTS_AT_ONCE, MAX_CLIENTS - len(self.clients))):
            try:
                connection, _address = held.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EMFILE or not _more_descriptors():
                    self._watch(wanted=False)
                    return
                continue
            connection.setblocking(False)
            client = _Client(connection, time.monotonic() + CLIENT_TIMEOUT_S)
            self.taken += 1
            self.clients[connection] = client
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
            self.buffered_bytes += len(chunk)
            if (
                b"\r\n\r\n" in client.received
                or len(client.received) >= HEAD_LIMIT_BYTES
                or self.buffered_bytes > BUFFER_BYTES
            ):
                self._reply(client)

    def _reply(self, client: _Client) -> None:
        request = parsed(client.received)
        self._forget(client)
        said = encoded(self.answer(request), head_only=request.method == "HEAD")
        client.to_send = memoryview(said)
        client.answered = True
        self._write(client)

    def _forget(self, client: _Client) -> None:
        self.buffered_bytes -= len(client.received)
        client.received = b""

    def _write(self, client: _Client) -> None:
        if client.to_send:
            with contextlib.suppress(BlockingIOError):
                client.to_send = client.to_send[client.socket.send(client.to_send) :]
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
        for client in list(self.clients.values()):
            if client.deadline_s < now_s:
                self._drop(client)

    def _drop(self, client: _Client) -> None:
        if self.clients.pop(client.socket, None) is not None:
            self._forget(client)
            self.selector.unregister(client.socket)
            client.socket.close()


def _more_descriptors() -> bool:
    """Whether the limit could be raised. It is done where it is needed, and not before: what the
    engine starts inherits it, and old programs do not expect so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if wanted <= soft:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True
