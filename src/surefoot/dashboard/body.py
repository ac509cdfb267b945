"""Reads what comes with a request, up to a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from surefoot.dashboard.errors import TooLargeError

if TYPE_CHECKING:
    from starlette.requests import Request

LIMIT, FORM_LIMIT = 64 * 1024, 16 * 1024
"""Bytes."""


async def read(request: Request, limit: int = LIMIT) -> bytes:
    """All of it. Raises TooLargeError."""
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > limit:
            raise TooLargeError
    return received


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form; of one that comes twice, the last. Raises TooLargeError."""
    received = await read(request, FORM_LIMIT)
    pairs = parse_qsl(received.decode("utf-8", errors="replace"), keep_blank_values=True)
    return dict(pairs)
