"""A user of the sample app who never stops: writes notes, reads them back, and remembers.

Every answer is kept, so that what users noticed of an update can be told afterwards; so is every
note that was acknowledged, so that not one can be lost unseen.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Kind(StrEnum):
    """What a request came to."""

    OK = "ok"
    MAINTENANCE = "maintenance"
    """503: turned away on purpose."""
    ERROR = "error"
    """Any other status that is no success, or an answer that makes no sense."""
    WRONG = "wrong"
    """A success, but not the note that was written."""
    REFUSED = "refused"
    """Nobody listened."""
    RESET = "reset"
    """Accepted, then closed without an answer."""
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Answer:
    """One request. Times are seconds of the monotonic clock."""

    began_s: float
    latency_s: float
    kind: Kind
    status: int | None = None

    @property
    def ended_s(self) -> float:
        return self.began_s + self.latency_s


@dataclass(frozen=True)
class Note:
    """A note that the app has acknowledged."""

    id: int
    text: str


@dataclass(frozen=True)
class Summary:
    """What the client saw since a moment."""

    requests: int
    failed: Mapping[Kind, int]
    """How many requests got no good answer, by kind."""
    longest_gap_s: float
    """The longest time in which nobody got a good answer."""
    slowest_s: float
    """The longest that somebody waited for a good answer."""

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    @property
    def turned_away(self) -> int:
        """How many of them got a maintenance answer, which says when to come again."""
        return self.failed.get(Kind.MAINTENANCE, 0)


class Client:
    """Writes and reads notes at `url`, `rate` requests a second, until it is stopped.

    `workers` is how many requests can wait at the same time. With `keep_alive` each worker keeps
    its connection; without, every request makes a new one, as new visitors do.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: float = 40,
        workers: int = 4,
        timeout_s: float = 30,
        keep_alive: bool = False,
    ) -> None:
        self.url = url
        self._pause_s = workers / rate
        self._timeout_s = timeout_s
        self._keep_alive = keep_alive
        self._answers: list[Answer] = []
        self._notes: list[Note] = []
        self._name = uuid.uuid4().hex
        """No two clients write the same text: a note whose id was given away again is missed."""
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(n * self._pause_s / workers,), daemon=True)
            for n in range(workers)
        ]

    def start(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> None:
        """Ends when every request that was on its way has its answer."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def answers(self) -> tuple[Answer, ...]:
        return tuple(self._answers)

    @property
    def acknowledged(self) -> tuple[Note, ...]:
        """Every note that the app has promised to keep."""
        return tuple(self._notes)

    @staticmethod
    def mark() -> float:
        """This moment, for `summary` and `longest_gap`."""
        return time.monotonic()

    def longest_gap(self, since: float = 0) -> float:
        """The most seconds between two good answers since then, the time until now included."""
        good = sorted(a.ended_s for a in self.answers if a.kind is Kind.OK)
        before = [end for end in good if end <= since][-1:]
        moments = [*before, *(end for end in good if end > since)]
        if not moments:
            return time.monotonic() - (since or time.monotonic())
        if not self._stopping.is_set():
            moments.append(time.monotonic())
        return max((late - early for early, late in itertools.pairwise(moments)), default=0.0)

    def summary(self, since: float = 0) -> Summary:
        """What was seen since then: answers that came after that moment."""
        seen = [answer for answer in self.answers if answer.ended_s > since]
        return Summary(
            requests=len(seen),
            failed=Counter(answer.kind for answer in seen if answer.kind is not Kind.OK),
            longest_gap_s=self.longest_gap(since),
            slowest_s=max((a.latency_s for a in seen if a.kind is Kind.OK), default=0.0),
        )

    def lost(self, url: str | None = None) -> list[Note]:
        """Every acknowledged note that is not there any more, or has another text.

        Raises OSError or http.client.HTTPException when the app does not answer.
        """
        promised = self.acknowledged
        kept = {note["id"]: note["text"] for note in _all_notes(url or self.url, self._timeout_s)}
        return [note for note in promised if kept.get(note.id) != note.text]

    def _work(self, delay_s: float) -> None:
        connection = _connection(self.url, self._timeout_s)
        due_s = time.monotonic() + delay_s
        writes = itertools.cycle((True, False))
        while not self._stopping.wait(max(0.0, due_s - time.monotonic())):
            # A worker that was made to wait does not hurry afterwards: users do not either.
            due_s = max(due_s, time.monotonic()) + self._pause_s
            self._write(connection) if next(writes) or not self._notes else self._read(connection)
            if not self._keep_alive:
                connection.close()
        connection.close()

    def _write(self, connection: http.client.HTTPConnection) -> None:
        text = f"note {next(self._numbers)} of {self._name}"
        answer, body = self._ask(connection, "POST", "/api/notes", {"text": text})
        if answer.kind is Kind.OK:
            if isinstance(body, dict) and body.get("text") == text:
                # Remembered before it is counted: whoever sees the answer can check the note.
                self._notes.append(Note(body["id"], text))
            else:
                answer = Answer(answer.began_s, answer.latency_s, Kind.WRONG, answer.status)
        self._answers.append(answer)

    def _read(self, connection: http.client.HTTPConnection) -> None:
        note = random.choice(self._notes)  # noqa: S311 - nothing is kept secret by it
        answer, body = self._ask(connection, "GET", f"/api/notes/{note.id}")
        gone = answer.status == http.client.NOT_FOUND
        if gone or (
            answer.kind is Kind.OK
            and not (isinstance(body, dict) and body.get("text") == note.text)
        ):
            answer = Answer(answer.began_s, answer.latency_s, Kind.WRONG, answer.status)
        self._answers.append(answer)

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: dict[str, str] | None = None,
    ) -> tuple[Answer, Any]:
        began_s = time.monotonic()
        status, found = None, None
        try:
            status, found = _request(connection, method, path, body)
            kind = _kind(status)
        except TimeoutError:
            kind = Kind.TIMEOUT
        except ConnectionRefusedError:
            kind = Kind.REFUSED
        except (OSError, http.client.HTTPException):
            kind = Kind.RESET
        except ValueError:
            kind = Kind.ERROR
        if kind in {Kind.TIMEOUT, Kind.REFUSED, Kind.RESET}:
            connection.close()
        return Answer(began_s, time.monotonic() - began_s, kind, status), found


def _kind(status: int) -> Kind:
    if status == http.client.SERVICE_UNAVAILABLE:
        return Kind.MAINTENANCE
    return Kind.OK if 200 <= status < 300 else Kind.ERROR


def get(url: str, path: str, timeout_s: float = 10) -> tuple[int, Any]:
    """Asks once; the status, and the JSON of the body (None where the status is no success).

    Raises OSError or http.client.HTTPException when there is no answer.
    """
    connection = _connection(url, timeout_s)
    try:
        return _request(connection, "GET", path)
    except ValueError as error:
        raise http.client.HTTPException(f"{path} was answered with no JSON.") from error
    finally:
        connection.close()


def _connection(url: str, timeout_s: float) -> http.client.HTTPConnection:
    place = urlsplit(url)
    return http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout_s)


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: dict[str, str] | None = None,
) -> tuple[int, Any]:
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if 200 <= response.status < 300 else None


def _all_notes(url: str, timeout_s: float) -> Iterator[dict[str, Any]]:
    last = 0
    while True:
        status, notes = get(url, f"/api/notes?after={last}&limit=1000", timeout_s)
        if _kind(status) is not Kind.OK:
            raise http.client.HTTPException(f"The notes cannot be listed: status {status}.")
        if not notes:
            return
        yield from notes
        last = notes[-1]["id"]
