"""When updates may begin by themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from surefoot import config
from surefoot.config.windows import is_open, next_opening, parse
from surefoot.errors import ConfigurationError

BERLIN = ZoneInfo("Europe/Berlin")
SUNDAY = datetime(2026, 11, 22, tzinfo=UTC)


def opens(text: str, moment: str, zone: ZoneInfo | None = None) -> bool:
    """`moment` is on the clock of the zone."""
    return is_open([parse(text)], datetime.fromisoformat(moment).replace(tzinfo=zone or UTC), zone)


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("02:00-05:00", "2026-11-24T01:59:59", False),
        ("02:00-05:00", "2026-11-24T02:00", True),
        ("02:00-05:00", "2026-11-24T05:00", False),
        ("Mon-Fri 02:00-05:00", "2026-11-24T03:00", True),
        ("Mon-Fri 02:00-05:00", "2026-11-22T03:00", False),
        ("sat, Sunday 02:00-05:00", "2026-11-22T03:00", True),
        ("Fri-Mon 02:00-05:00", "2026-11-23T03:00", True),
        ("Fri-Mon 02:00-05:00", "2026-11-24T03:00", False),
        ("Sat 22:00-04:00", "2026-11-22T03:59", True),
        ("Sat 22:00-04:00", "2026-11-21T03:59", False),
        ("Sat 00:00-24:00", "2026-11-21T23:59", True),
        ("00:00-00:00", "2026-11-21T12:00", True),
    ],
)
def test_a_window_is_open_from_the_one_hour_to_the_other(
    text: str, moment: str, expected: bool
) -> None:
    assert opens(text, moment, ZoneInfo("UTC")) is expected


def test_without_windows_it_is_always_open() -> None:
    assert is_open([], SUNDAY, None)
    assert next_opening([], SUNDAY, None) is None


def test_the_clock_is_that_of_the_place() -> None:
    midnight = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)  # 00:30 on Wednesday in Berlin
    assert is_open([parse("Wed 00:00-01:00")], midnight, BERLIN)
    assert not is_open([parse("Wed 00:00-01:00")], midnight, ZoneInfo("UTC"))


def test_the_next_opening_is_found_over_the_end_of_the_week() -> None:
    windows = [parse("Sat 02:00-05:00"), parse("Wed 02:00-05:00")]
    opening = next_opening(windows, SUNDAY, ZoneInfo("UTC"))
    assert opening == datetime(2026, 11, 25, 2, tzinfo=UTC)
    assert next_opening(windows, opening, ZoneInfo("UTC")) == datetime(2026, 11, 28, 2, tzinfo=UTC)
    assert next_opening(windows[:1], SUNDAY + timedelta(days=-1, hours=3), ZoneInfo("UTC")) == (
        datetime(2026, 11, 28, 2, tzinfo=UTC)
    )


def open_hours(text: str, day: datetime) -> list[str]:
    """The quarters of an hour, in UTC, at which a window in Berlin is open around a night."""
    moments = [day + timedelta(minutes=15 * i) for i in range(-8, 24)]
    return [f"{m:%H:%M}" for m in moments if is_open([parse(text)], m, BERLIN)]


def test_an_hour_that_there_is_twice_is_in_the_window_twice() -> None:
    night = datetime(2026, 10, 25, tzinfo=UTC)  # 03:00 becomes 02:00 at 01:00 UTC
    hours = open_hours("02:00-03:00", night)
    assert (hours[0], hours[-1], len(hours)) == ("00:00", "01:45", 8)


def test_an_hour_that_there_is_not_is_in_no_window() -> None:
    night = datetime(2026, 3, 29, tzinfo=UTC)  # 02:00 becomes 03:00 at 01:00 UTC
    assert open_hours("02:00-03:00", night) == []
    assert open_hours("02:00-03:30", night) == ["01:00", "01:15"]
    opening = next_opening([parse("02:00-03:00")], night, BERLIN)
    assert opening == datetime(2026, 3, 30, 0, tzinfo=UTC)


def refused(lines: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        config.parse(f"[app]\ncommand = 'x'\n[source]\ngit = 'x'\n[update]\n{lines}")
    return str(caught.value)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("windows = ['at night']", "`at night` is not a window."),
        ("windows = ['25:00-26:00']", "names an hour that no clock shows"),
        ("windows = ['02:60-05:00']", "names an hour that no clock shows"),
        ("windows = ['Foo 02:00-05:00']", "`Foo` is not a day of the week"),
        ("windows = ['Mon-Tue-Wed 02:00-05:00']", "is not a day of the week"),
        ("windows = ['02:00-02:30']", "shorter than `interval`, so it would be missed. Look more"),
        ("timezone = 'Europe/Bärlin'", "`Europe/Bärlin` is not a time zone"),
        ("timezone = '../UTC'", "is not a time zone"),
    ],
)
def test_a_window_that_cannot_be_meant_is_refused(lines: str, why: str) -> None:
    assert why in refused(lines)
    assert "line 6" in refused(lines)


def test_windows_are_read_from_the_environment_as_well() -> None:
    text = "[app]\ncommand = 'x'\n[source]\ngit = 'x'\n"
    found = config.parse(text, {"SUREFOOT_UPDATE_WINDOWS": "Sat 02:00-04:00,Sun 02:00-04:00"})
    assert found.update.windows == ["Sat 02:00-04:00", "Sun 02:00-04:00"]
