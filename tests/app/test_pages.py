from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from surefoot.app.lockfile import CLOSED_STATES
from surefoot.app.pages import PLACEHOLDERS, TEXTS, OwnPage, choose_language, create_html, read_own

if TYPE_CHECKING:
    from pathlib import Path

SINCE = datetime(2026, 11, 23, 20, 14, 5, tzinfo=UTC)
NOW = SINCE + timedelta(seconds=12)


class Tags(HTMLParser):
    """Checks that every tag is closed, and keeps what was seen."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("state", sorted(CLOSED_STATES))
def test_the_page_is_whole_small_and_needs_nothing_else(language: str, state: str) -> None:
    html = create_html(language, state, SINCE, now=NOW)
    assert len(html.encode()) < 15_000
    tags = Tags(html).seen
    assert ("meta", {"http-equiv": "refresh", "content": "5"}) in tags
    assert not [tag for tag, _ in tags if tag in {"script", "img", "iframe"}]
    assert "http:" not in html
    assert "https:" not in html
    assert "$" not in html.partition("</style>")[2]
    assert ("html", {"lang": "en" if language == "en" else "zh-Hans"}) in tags


def test_the_page_says_what_happens_and_since_when() -> None:
    html = create_html("en", "probation", SINCE, now=NOW)
    assert "A new version is being put in place" in html
    assert '<time datetime="2026-11-23T20:14:05Z">20:14:05</time> UTC, 12 seconds ago' in html
    assert html.count('class="done"') == 3
    assert 'class="current" aria-current="step">Checking that all is well' in html
    later = create_html("zh", "probation", SINCE, now=SINCE + timedelta(minutes=3))
    assert "3 分钟" in later


def test_another_zone_is_told_in_utc() -> None:
    there = SINCE.astimezone(timezone(timedelta(hours=8)))
    assert "20:14:05" in create_html("en", "switched", there, now=NOW)


def test_a_rollback_and_a_broken_update_are_told_as_such() -> None:
    rolling_back = create_html("en", "rolling_back", SINCE, now=NOW)
    assert "the version before is being put back" in rolling_back
    assert "<ol" not in rolling_back
    assert "could not be finished" in create_html("en", "broken", None)
    assert "未能完成" in create_html("zh", "broken", None)


def test_an_unknown_state_or_language_still_gives_a_page() -> None:
    assert "Back in a moment" in create_html("fr", "of a newer version", None)


def test_both_languages_say_the_same_things() -> None:
    assert TEXTS["en"].keys() == TEXTS["zh"].keys()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de-DE,de;q=0.9,zh-TW;q=0.5,en;q=0.3", "zh"),
        ("en;q=0.2, ZH-HK ;q=0.7", "zh"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=x,*;q=,;;,=", "en"),
        ("zh;q=9", "en"),
    ],
)
def test_the_visitors_first_choice_is_taken(header: str, language: str) -> None:
    assert choose_language(header) == language


def test_a_page_of_the_apps_own_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "closed.html"
    file.write_text("<title>$title</title>$steps$since <b>$kind</b> costs $$5 and $nothing")
    template = OwnPage(str(file)).template()
    html = create_html("zh", "probation", SINCE, now=NOW, template=template)
    assert html.startswith("<title>马上回来</title><ol")
    assert html.endswith("</p> <b>updating</b> costs $5 and $nothing")
    assert all(f"${name}" not in create_html("en", "x", SINCE) for name in PLACEHOLDERS)


def test_a_page_that_has_changed_is_read_again_and_one_that_is_gone_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "closed.html"
    page = OwnPage(str(file))
    assert page.template() is page.template() is None
    file.write_bytes(b"\xff")
    assert page.template() is None
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "The built-in maintenance page is shown"
    ] * 2
    for text in ("first", "second"):
        file.write_text(text)
        template = page.template()
        assert template is not None
        assert template.template == text
        assert page.template() is template
    file.unlink()
    assert page.template() is None


def test_a_page_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ValueError, match="more than"):
        read_own("/dev/zero")
