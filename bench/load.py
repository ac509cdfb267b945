"""Visitors who do not wait for one another: an open-loop load generator.

`python -m bench.load --port P --rate R --out FILE` asks R times a second, whatever becomes of the
requests before, until its standard input ends; then it waits for what is under way and writes JSON.
Every other request makes a new connection, as a new visitor does; the others are made over
connections that are kept alive, as a browser or a client library does. A generator that waits for
answers would ask less while an app is away, and so hide what it is here to show.

One thread, one epoll, no library: cheap enough that it is not what is measured (`cpu_s` says so).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import select
import socket
import sys
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

TIMEOUT_S = 30.0
KEPT_AT_FIRST = 20
"""As many visitors have an open connection when it begins."""
WRITES_PER_S = 10
"""So many of the requests write a note; the others ask for the version."""

OK, TURNED_AWAY, ERROR, REFUSED, RESET, TIMEOUT = (
    "ok", "turned_away", "error", "refused", "reset", "timeout",
)  # fmt: skip


@dataclass
class Connection:
    """One connection, and the request that is under way on it."""

    socket: socket.socket
    kept: bool
    """It is used again."""
    connected: bool = False
    due_s: float = 0.0
    text: str = ""
    """What is to be written; empty where nothing is."""
    asking: bool = False
    received: bytearray = field(default_factory=bytearray)


class Visitors:
    """Asks on schedule, and notes down what came of every request."""

    def __init__(self, port: int, rate: float) -> None:
        self.rate = rate
        self._address = ("127.0.0.1", port)
        self._poll = select.epoll()
        self._open: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()
        self._name = uuid.uuid4().hex
        self._asked = 0
        self._write_every = round(rate / WRITES_PER_S) | 1  # odd: over both kinds of connections
        self.fates: list[tuple[float, float, str, bool]] = []
        """When a request was due, when its fate was known, its fate, and whether its connection was
        one that is kept alive."""
        self.acknowledged: list[str] = []
        """The notes that the app has promised to keep."""

    def run(self, stop: int) -> None:
        """Asks until the descriptor `stop` is at its end."""
        self._poll.register(stop, select.EPOLLIN | select.EPOLLHUP)
        for _ in range(KEPT_AT_FIRST):
            with contextlib.suppress(OSError):
                self._idle.append(self._connect(kept=True))
        began_s, going, checked_s = time.monotonic(), True, 0.0
        while going or any(found.asking for found in self._open.values()):
            now_s = time.monotonic()
            while going and began_s + self._asked / self.rate <= now_s:
                self._ask(began_s + self._asked / self.rate)
            if now_s - checked_s > 1:
                self._give_up(now_s)
                checked_s = now_s
            next_s = began_s + self._asked / self.rate if going else now_s + 1
            for descriptor, events in self._poll.poll(max(0.0, next_s - time.monotonic())):
                if descriptor == stop:
                    going = False
                    self._poll.unregister(stop)
                elif descriptor in self._open:
                    self._step(self._open[descriptor], events)

    def _ask(self, due_s: float) -> None:
        self._asked += 1
        text = f"note {self._asked} of {self._name}" if self._asked % self._write_every == 0 else ""
        kept = self._asked % 2 == 1
        found = self._idle.popleft() if kept and self._idle else None
        if found is None:
            try:
                found = self._connect(kept=kept)
            except OSError as error:
                self.fates.append((due_s, time.monotonic(), _fate_of(error), kept))
                return
        found.due_s, found.text, found.asking = due_s, text, True
        found.received.clear()
        if found.connected:
            self._send(found)

    def _connect(self, *, kept: bool) -> Connection:
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = made.connect_ex(self._address)
        if code not in {0, errno.EINPROGRESS}:
            made.close()
            raise OSError(code, os.strerror(code))
        found = Connection(made, kept)
        self._open[made.fileno()] = found
        self._poll.register(made, select.EPOLLIN | select.EPOLLOUT)
        return found

    def _step(self, found: Connection, events: int) -> None:
        if not found.connected:
            if code := found.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._end(found, _fate_of(OSError(code, os.strerror(code))))
                return
            if not events & select.EPOLLOUT:
                return
            found.connected = True
            self._poll.modify(found.socket, select.EPOLLIN)
            if found.asking:
                self._send(found)
        elif events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._receive(found)

    def _send(self, found: Connection) -> None:
        kept = "keep-alive" if found.kept else "close"
        head = f"Host: notes\r\nConnection: {kept}\r\n"
        if found.text:
            body = json.dumps({"text": found.text})
            head = f"POST /api/notes HTTP/1.1\r\n{head}Content-Type: application/json\r\n"
            head += f"Content-Length: {len(body)}\r\n\r\n{body}"
        else:
            head = f"GET /api/version HTTP/1.1\r\n{head}\r\n"
        try:
            found.socket.send(head.encode())
        except OSError:
            self._end(found, RESET)

    def _receive(self, found: Connection) -> None:
        try:
            data = found.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not found.asking:  # an idle connection was closed, as any server may
            self._close(found)
            return
        found.received += data
        status = _status(found.received)
        if status is not None:
            self._note(found, _fate(status))
            if found.kept and data and b"onnection: close" not in found.received[:1000]:
                self._idle.append(found)
            else:
                self._close(found)
        elif not data:
            self._end(found, RESET)

    def _note(self, found: Connection, fate: str) -> None:
        self.fates.append((found.due_s, time.monotonic(), fate, found.kept))
        if fate == OK and found.text:
            self.acknowledged.append(found.text)
        found.asking = False

    def _end(self, found: Connection, fate: str) -> None:
        if found.asking:  # else a connection that was made in advance has failed
            self._note(found, fate)
        self._close(found)

    def _close(self, found: Connection) -> None:
        self._open.pop(found.socket.fileno(), None)
        found.socket.close()
        with contextlib.suppress(ValueError):
            self._idle.remove(found)

    def _give_up(self, now_s: float) -> None:
        for found in list(self._open.values()):
            if found.asking and now_s - found.due_s > TIMEOUT_S:
                self._end(found, TIMEOUT)


def _status(received: bytearray) -> int | None:
    """The status of an answer that is complete."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    return int(head[9:12]) if len(body) >= length else None


def _fate(status: int) -> str:
    if status == 503:
        return TURNED_AWAY
    return OK if 200 <= status < 300 else ERROR


def _fate_of(error: OSError) -> str:
    return REFUSED if error.errno == errno.ECONNREFUSED else RESET


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.load")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    visitors = Visitors(given.port, given.rate)
    began_s, before_s = time.monotonic(), time.process_time()
    visitors.run(sys.stdin.fileno())
    told = {
        "fates": visitors.fates,
        "acknowledged": visitors.acknowledged,
        "cpu_s": time.process_time() - before_s,
        "took_s": time.monotonic() - began_s,
    }
    given.out.write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
