"""Clients that ask all the time, while the server is started anew again and again."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable

CLIENTS = 6
RESTARTS = 3
PATIENCE_S = 60

Start = Callable[[], contextlib.AbstractContextManager[subprocess.Popen[str]]]


class Load:
    """What has been answered, and what has not; every request over a new connection."""

    def __init__(self, port: int, path: str) -> None:
        self.answers: Counter[int] = Counter()
        self.failures: list[str] = []
        self.over = threading.Event()
        self._port = port
        self._path = path

    def ask(self) -> None:
        """Until it is over."""
        while not self.over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
            with contextlib.closing(connection):
                try:
                    connection.request("GET", self._path)
                    response = connection.getresponse()
                    response.read()
                    self.answers[response.status] += 1
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(repr(error))

    def wait_for(self, more: int) -> None:
        """Returns when so many more have been answered."""
        wanted, end_s = self.answers.total() + more, time.monotonic() + PATIENCE_S
        while self.answers.total() < wanted:
            assert time.monotonic() < end_s, f"{self.answers}, {self.failures[-3:]}"
            time.sleep(0.01)


def under_load(port: int, start: Start, *, path: str = "/pid") -> Load:
    """RESTARTS on a socket that is held, with all the requests that were made meanwhile."""
    load = Load(port, path)
    threads = [threading.Thread(target=load.ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(RESTARTS):
            with start() as process:
                load.wait_for(100)
                process.terminate()
                process.wait(PATIENCE_S)
        with start():
            load.wait_for(1)
            load.over.set()
            for thread in threads:
                thread.join()
    finally:
        load.over.set()
    return load
