"""As much of HTTP as the gate needs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surefoot.app.maintenance import Answer


@dataclass(frozen=True)
class Request:
    """As much of a request as an answer depends on."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""


@functools.lru_cache(maxsize=4)
def encoded(answer: Answer, *, head_only: bool) -> bytes:
    """The same object for the same answer: a crowd shares it."""
    lines = [f"HTTP/1.1 {answer.status} Service Unavailable", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only else head + answer.body


def parsed(head: bytes) -> Request:
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
