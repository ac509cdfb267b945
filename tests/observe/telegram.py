"""A real HTTP server that plays Telegram's Bot API."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "123456789:AbCdEfGhIjKlMnOpQrStUvWxYz012345678"
ADDRESS = f"tgram://{TOKEN}/987654321"


class Telegram:
    """Takes messages; `behave` is `ok`, `fail` (with an error that names the token) or `hang`."""

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
                status = 200 if outer.behave == "ok" else 401
                if status == 200:
                    outer.messages.append(json.loads(body))
                answer = {"ok": status == 200, "description": f"Unauthorized: {self.path}"}
                with contextlib.suppress(OSError):  # whoever asked has not waited for it
                    self.send_response(status)
                    self.end_headers()
                    self.wfile.write(json.dumps(answer).encode())

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
        return [str(message["text"]) for message in self.messages]
