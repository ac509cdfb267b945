"""A real Chromium, and a page in it that must behave."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from tests.dashboard.serving import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, ViewportSize

WIDE: ViewportSize = {"width": 1200, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}


@dataclass
class Visit:
    """What went wrong on a page, as the browser saw it."""

    page: Page
    origin: str
    problems: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()
    """Parts of messages that are meant to come."""

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self._note(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def go(self, path: str) -> None:
        self.page.goto(self.origin + path)

    def log_in(self, name: str = "Ann", token: str = TOKEN) -> None:
        self.go("/")
        self.page.fill("#token", token)
        self.page.fill("#name", name)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#now")

    def check_access(self) -> None:
        """By axe-core: what stands in the way of a keyboard, a screen reader, weak eyes."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, f"{self.page.url}\n{found.generate_report()}"

    def check_width(self) -> None:
        """Nothing has to be pushed sideways."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{self.page.url} is {wide} pixels too wide"

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self._note(f"asked elsewhere: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._note(f"answered {response.status}: {response.url}")

    def _note(self, problem: str) -> None:
        if not any(part in problem for part in self.allowed):
            self.problems.append(problem)


@contextlib.contextmanager
def visit(
    browser: Browser,
    origin: str,
    *,
    size: ViewportSize = WIDE,
    language: str = "en-US",
    dark: bool = False,
    scripts: bool = True,
    allowed: tuple[str, ...] = (),
) -> Iterator[Visit]:
    """A visit that ends without a complaint of the browser's."""
    context = browser.new_context(
        viewport=size,
        locale=language,
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
    )
    context.set_default_timeout(30_000)
    try:
        found = Visit(context.new_page(), origin, allowed=allowed)
        yield found
        assert found.problems == []
    finally:
        context.close()
