"""The maintenance page in a real browser, from the real gate, without JavaScript."""

from __future__ import annotations

import http.server
import socket
import threading
from typing import TYPE_CHECKING, Literal

import pytest

from surefoot.app import lockfile
from surefoot.app.maintenance import answer_for
from surefoot.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from surefoot.app.maintenance import Answer
    from surefoot.gate import Request

SINCE = "2026-11-23T20:14:05+00:00"
SIZES = {"phone": (320, 568), "desktop": (1280, 800)}


class Closed:
    """A gate, and what the lock says."""

    def __init__(self) -> None:
        self.state = "stopped"
        self.held = socket.create_server(("127.0.0.1", 0))
        self.gate = Gate([self.held], self._answer, hold_s=0)
        self.url = f"http://127.0.0.1:{self.held.getsockname()[1]}/"
        self.gate.close()

    def _answer(self, request: Request) -> Answer:
        lock = lockfile.Lock(self.state, since=SINCE)
        return answer_for(request.path, request.headers.get("accept-language", ""), lock, ["/api"])


@pytest.fixture
def closed() -> Iterator[Closed]:
    found = Closed()
    yield found
    found.gate.open()
    found.held.close()


class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<title>The app</title>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""


def test_whoever_waits_on_the_page_sees_the_progress_and_then_the_app(
    browser: Browser, closed: Closed
) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    answer = page.goto(closed.url + "some/place")
    assert answer is not None
    assert answer.status == 503
    assert page.locator(".current").inner_text().startswith("Closing down")
    closed.state = "probation"
    page.get_by_text("Checking that all is well (under way)").wait_for(state="attached")
    assert page.locator(".done").count() == 3
    closed.gate.open()
    with http.server.HTTPServer(("127.0.0.1", 0), App, bind_and_activate=False) as server:
        server.socket.close()
        server.socket = closed.held.dup()
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            page.wait_for_function("document.title === 'The app'")
            assert page.url.endswith("/some/place")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
def test_it_fits_every_screen_and_the_visitors_taste(
    browser: Browser, closed: Closed, language: str, size: str
) -> None:
    width, height = SIZES[size]
    grounds = set()
    tastes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for taste in tastes:
        page = browser.new_context(
            locale=language,
            color_scheme=taste,
            viewport={"width": width, "height": height},
        ).new_page()
        page.goto(closed.url)
        loaded = page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
        assert loaded == [], "the page needs nothing else"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.documentElement.scrollHeight") <= height
        title = "马上回来" if language == "zh-CN" else "Back in a moment"
        assert page.get_by_role("heading").inner_text() == title
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert contrast(page.evaluate(_COLOURS)) >= 4.5  # WCAG 2.2, AA
        page.context.close()
    assert len(grounds) == 2


_COLOURS = """["color", "backgroundColor"].map(name =>
    getComputedStyle(document.querySelector(name === "color" ? "footer" : "main"))[name]
        .match(/\\d+/g).map(Number))"""


def contrast(colours: list[list[int]]) -> float:
    """Of the faintest text on its ground, as WCAG reckons it."""
    lights = sorted(luminance(colour) for colour in colours)
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: list[int]) -> float:
    parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
