"""A real HTTP server that plays Telegram's Bot API."""

from __future__ import annotations

import contextlib
import html
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "123456789:AbCdEfGhIjKlMnOpQrStUvWxYz012345678"
ADDRESS = f"tgram://{TOKEN}/987654321"


LONGEST = 4096
"""Characters of a message, once its entities are read."""
_MARKUP = r"</?(?:b|strong|i|em|u|s|code|pre)>"


def complaint(message: dict[str, Any]) -> str:
    """What Telegram answers to a text that it does not take; empty if it does."""
    text = str(message["text"])
    if message.get("parse_mode") == "HTML":
        text = re.sub(_MARKUP, "", text)
        if "<" in text:
            return "Bad Request: can't parse entities: Unsupported start tag"
        text = html.unescape(text)
    return "Bad Request: message is too long" if len(text) > LONGEST else ""


class Telegram:
    """Takes messages; `behave` is `ok`, `fail` (with an error that names the token), `hang`, or
    `flood` (with an answer that has no end)."""

    def __init__(self) -> None:
        self.behave = "ok"
        self.messages: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(self.path)
                if outer.behave == "hang":
                    outer.released.wait(100)
                message = json.loads(body)
                said = complaint(message)
                status = 401 if outer.behave == "fail" else 400 if said else 200
                if status == 200:
                    outer.messages.append(message)
                said = said or f"Unauthorized: {self.path}"
                answer = {"ok": status == 200, "description": said}
                with contextlib.suppress(OSError):  # whoever asked has not waited for it
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(json.dumps(answer).encode())
                    while outer.behave == "flood" and not outer.released.is_set():
                        self.wfile.write(b" " * 65536)
                        time.sleep(0.01)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.api = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def texts(self) -> list[str]:
        """What people read."""
        return [html.unescape(str(message["text"])) for message in self.messages]
