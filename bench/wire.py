"""What goes over the wire: a server for git and for packages that counts its bytes.

git speaks HTTP through its own `git http-backend`; packages are listed as PEP 503 says.
"""

from __future__ import annotations

import html
import os
import subprocess
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pathlib import Path


class Wire(ThreadingHTTPServer):
    """Serves the bare repositories in `repositories` and the wheels in `wheels` on loopback."""

    daemon_threads = True

    def __init__(self, repositories: Path, wheels: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.wheels = wheels
        self.bytes = 0
        """Bodies and heads, in both directions."""
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def repository(self, name: str) -> str:
        return f"{self.url}/git/{name}"

    @property
    def index(self) -> str:
        return f"{self.url}/simple/"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def add(self, size: int) -> None:
        with self.counting:
            self.bytes += size


class _Handler(BaseHTTPRequestHandler):
    server: Wire
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/git/"):
            self._git(path, b"")
        elif path.startswith("/simple/"):
            self._index(path.removeprefix("/simple/").strip("/"))
        else:
            self._wheel(self.server.wheels / path.removeprefix("/wheels/"))

    do_HEAD = do_GET  # noqa: N815 - as the base class names it

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.add(len(body))
        self._git(urlsplit(self.path).path, body)

    def _index(self, name: str) -> None:
        found = sorted(
            path.name
            for path in self.server.wheels.glob("*.whl")
            if path.name.partition("-")[0].replace("_", "-").lower() == name
        )
        links = "".join(
            f'<a href="/wheels/{html.escape(x)}" data-core-metadata="true">{html.escape(x)}</a>'
            for x in found
        )
        page = f"<!doctype html><html><body>{links}</body></html>"
        self._answer(200 if found else 404, "text/html", page.encode())

    def _wheel(self, path: Path) -> None:
        """A wheel, or its metadata alone (PEP 658), as the public index has them."""
        wheel = path.with_name(path.name.removesuffix(".metadata"))
        if not wheel.is_file():
            self._answer(404, "text/plain", b"")
        elif wheel == path:
            self._answer(200, "application/octet-stream", wheel.read_bytes())
        else:
            with zipfile.ZipFile(wheel) as archive:
                [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
                self._answer(200, "text/plain", archive.read(name))

    def _git(self, path: str, body: bytes) -> None:
        done = subprocess.run(
            ["git", "http-backend"],
            input=body,
            env={
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(self.server.repositories),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "PATH_INFO": path.removeprefix("/git"),
                "QUERY_STRING": urlsplit(self.path).query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            },
            stdout=subprocess.PIPE,
            check=True,
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(fields.get("Status", "200").split()[0])
        self._answer(status, fields["Content-Type"], content)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            body = b""
        self.wfile.write(body)
        self.server.add(len(body) + len(self.requestline) + len(str(self.headers)))

    def log_message(self, *_: Any) -> None:
        pass
