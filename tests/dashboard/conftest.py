from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cli.conftest import home, installed, remote, supervisor
from tests.dashboard.serving import TOKEN, dashboard

from surefoot.config import Dashboard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.dashboard.serving import Client

    from surefoot.home import Home

__all__ = ["home", "installed", "remote", "supervisor"]


@pytest.fixture
def settings() -> Dashboard:
    return Dashboard(token=TOKEN)


@pytest.fixture
def stranger(home: Home, settings: Dashboard) -> Iterator[Client]:
    """A client of a served dashboard that has shown nothing."""
    with dashboard(home, settings) as client:
        yield client


@pytest.fixture
def client(stranger: Client) -> Client:
    """One that sends the token."""
    return stranger.with_token()
