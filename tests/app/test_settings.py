from __future__ import annotations

from typing import TYPE_CHECKING

from surefoot.app import settings

if TYPE_CHECKING:
    import pytest
    from tests.app.conftest import Home


def schedule(home: Home) -> settings.Schedule:
    return settings.schedule(str(home.root))


def test_nothing_is_checked_unless_it_is_switched_on(home: Home) -> None:
    assert not schedule(home).is_enabled
    (home.root / ".env").write_text("AUTO_UPDATE_ENABLED=false\n")
    assert not schedule(home).is_enabled


def test_the_settings_come_from_dotenv(home: Home) -> None:
    (home.root / ".env").write_text(
        "# AUTO_UPDATE_ENABLED=false\n"
        "\n"
        "export AUTO_UPDATE_ENABLED = 'true'  # on\n"
        'UPDATE_CHECK_INTERVAL="90" # seconds\n'
        "nonsense\n"
    )
    found = schedule(home)
    assert found.is_enabled
    assert found.interval_s == 90


def test_the_environment_counts_before_dotenv(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.root / ".env").write_text("AUTO_UPDATE_ENABLED=true\nUPDATE_CHECK_INTERVAL=90 # s\n")
    monkeypatch.setenv("AUTO_UPDATE_ENABLED", "off")
    assert not schedule(home).is_enabled
    assert schedule(home).interval_s == 90


def test_an_interval_that_cannot_be_meant_is_an_hour(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("soon", "0", "-5"):
        monkeypatch.setenv("UPDATE_CHECK_INTERVAL", value)
        assert schedule(home).interval_s == 3600
