from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.needs import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

_CHROMIUM = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One for all tests of a worker: a second one cannot be started beside it."""
    from playwright.sync_api import sync_playwright

    chromium = str(program("chromium", "chromium"))
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=_CHROMIUM)
        yield launched
        launched.close()
