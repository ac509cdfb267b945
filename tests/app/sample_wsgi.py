"""A small WSGI app: answers, answers slowly, fails to start, and says which process it is."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

if os.environ.get("SAMPLE_IS_BAD"):
    sys.exit("This release does not start.")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = str(os.getpid())
    match environ["PATH_INFO"]:
        case "/slow":
            time.sleep(float(parse_qs(environ["QUERY_STRING"])["seconds"][0]))
            body = "slow"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body.encode()]
