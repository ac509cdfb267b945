"""What somebody sees and does in a real browser, with a real supervisor and app behind it."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from tests.cli.conftest import install
from tests.dashboard.browsing import PHONE, WIDE, visit
from tests.dashboard.serving import TOKEN, dashboard, served
from tests.tiny import Repository, Tiny

from surefoot.config import Dashboard
from surefoot.dashboard import create_app
from surefoot.dashboard.wording import NOTHING
from surefoot.databases import backups
from surefoot.releases.ledger import Ledger
from surefoot.update import hold
from surefoot.update.history import History
from surefoot.update.lock import Lock, Update
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser
    from tests.dashboard.browsing import Visit
    from tests.releases.remote import Remote

    from surefoot.home import Home

SETTINGS = Dashboard(token=TOKEN)
_COLLECT = """() => {
    window.seen = new Set();
    const look = () => {
        for (const name of document.querySelectorAll('.steps .current .name'))
            window.seen.add(name.textContent);
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
    look();
}"""


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    """Release v1.0, serving."""
    repository = Repository(tmp_path / "repository")
    repository.release("v1.0")
    tiny = Tiny(tmp_path, repository)
    tiny.start()
    try:
        tiny.wait_for_version("v1.0")
        yield tiny
    finally:
        tiny.stop()


def update(visited: Visit, button: str) -> set[str]:
    """Asks for the newest release, and watches until it is over; returns the steps that were seen
    without the page being loaded again."""
    page = visited.page
    page.click("#update")
    expect(page.locator(".terms dt")).to_have_count(3)
    page.get_by_role("button", name=button, exact=True).click()
    page.wait_for_url("**/updates/*")
    page.evaluate(_COLLECT)
    page.wait_for_selector(".headline .outcome:not(.in_flight)")
    return {str(name) for name in page.evaluate("[...window.seen]")}


def test_an_update_a_bad_release_and_the_way_back(browser: Browser, tiny: Tiny) -> None:
    tiny.repository.release("v1.1")
    with dashboard(tiny.home, SETTINGS) as client, visit(browser, client.origin) as visited:
        page = visited.page
        visited.log_in()
        assert update(visited, "Update") & {"Prepare", "Stop", "Snapshot", "Migrate", "Judge"}
        expect(page.locator(".headline .outcome")).to_have_text("Committed")
        expect(page.locator(".facts")).to_contain_text("by Ann (session, 127.0.0.1)")
        expect(page.locator(".log")).to_contain_text("Release " + tiny.id_of("v1.1") + " is ready")
        assert tiny.version() == "v1.1"

        tiny.repository.release("bad", "dies")
        visited.go("/")
        page.get_by_role("button", name="Look now").click()
        page.get_by_text("bad", exact=True).wait_for()
        update(visited, "Update")
        expect(page.locator(".headline .outcome")).to_have_text("Rolled back")
        expect(page.locator(".notice.bad")).to_contain_text("ended with exit code 1")
        expect(page.locator(".facts")).to_contain_text("it was not healthy")
        expect(page.locator(".steps")).to_contain_text("Put back")
        assert tiny.version() == "v1.1"
        visited.check_access()

        visited.go("/releases")
        page.get_by_role("button", name="Allow again").click()
        expect(page.get_by_text("No release is denied")).to_be_visible()

        visited.go("/")
        page.click("#roll-back")
        expect(page.locator(".kept")).to_contain_text("All data stays")
        page.click("#confirm")
        page.wait_for_url("**/updates/*")
        expect(page.locator(".headline .outcome")).to_have_text("Committed")
        tiny.wait_for_version("v1.0")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")


@pytest.mark.slow
def test_the_same_in_chinese_on_a_phone(browser: Browser, tiny: Tiny) -> None:
    tiny.repository.release("v1.1", schema=2)
    with (
        dashboard(tiny.home, SETTINGS) as client,
        visit(browser, client.origin, size=PHONE, language="zh-CN", dark=True) as visited,
    ):
        page = visited.page
        visited.log_in("安")
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
        visited.check_width()
        assert update(visited, "更新")
        expect(page.locator(".headline .outcome")).to_have_text("已提交")
        expect(page.locator(".facts")).to_contain_text("安")
        visited.check_width()
        visited.go("/backups")
        page.get_by_role("link", name="恢复").first.click()
        expect(page.locator(".lost")).to_contain_text("将不再出现在应用中")
        visited.check_width()
        page.click("#confirm")
        page.wait_for_url("**/updates/*")
        expect(page.locator(".headline .outcome")).to_have_text("已提交")
        tiny.wait_for_version("v1.0")
        page.get_by_role("link", name="English").click()
        expect(page.locator(".headline .outcome")).to_have_text("Committed")


def test_it_goes_on_while_the_app_is_down_and_over_its_own_restart(
    browser: Browser, tiny: Tiny
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        held.listen()
        origin = f"http://127.0.0.1:{held.getsockname()[1]}"
        lost = ("ERR_", "answered 5")
        with visit(browser, origin, allowed=lost) as visited:
            page = visited.page
            with served(create_app(tiny.home, SETTINGS), held.dup()):
                visited.log_in()
                expect(page.locator(".standing")).to_have_text("Healthy")
            tiny.stop()
            expect(page.locator("#connection")).to_contain_text(
                "connection to the dashboard is lost"
            )
            with served(create_app(tiny.home, SETTINGS), held.dup()):
                expect(page.locator("#alerts")).to_contain_text("Does not run")
                expect(page.locator("#connection")).to_be_hidden()
                expect(page.locator(".standing")).to_have_text("Not healthy")


@pytest.fixture
def storied(home: Home, remote: Remote) -> Home:
    """A home with something of everything, in which nothing runs."""
    release = install(home, remote.git("rev-parse", "HEAD"), "v1.0")
    newest = remote.commit({"a": "1"}, "Add <a>")
    remote.tag("v1.1")
    facts: dict[str, Any] = {"kind": "update", "from": release.id, "to": newest[:12], "ref": "v1.1"}
    history = History(home)
    for number, (outcome, took_s) in enumerate((("committed", 2.5), ("rolled_back", 4.0))):
        history.append(f"u{number}", "requested", "Update.", origin="dashboard", by="Ann", **facts)
        history.append(f"u{number}", "staged", "Ready.")
        history.append(f"u{number}", outcome, "Over.", **facts, reason="It answers, but wrongly.",
                       output="Traceback\n" + "x" * 400, durations={"stage": took_s, "stop": 0.1},
                       )  # fmt: skip
    changes = [
        {"table": "notes", "rows_before": 12, "rows_after": 5, "columns_gone": ["author"]},
        {"table": "words", "rows_before": None, "rows_after": 9},
        {"table": "old", "rows_before": 3, "rows_after": None, "is_gone": True},
        {"table": "users", "rows_before": 2, "rows_after": 2},
    ]
    history.append("u2", "requested", "Update.", origin="schedule", **facts)
    history.append("u2", "migration_rehearsed", "It loses.", database="main", duration_s=0.7,
                   changes=changes)  # fmt: skip
    history.append("u2", "held", "It waits for a person.", output="notes 12 5")
    history.append("u2", "abandoned", "Held.", **facts, reason="The migration loses data.")
    now = history.append("u3", "checked", "Nothing new.").at
    Ledger.load(home.ledger, now=now).deny(newest[:12], "It was ill.", now)
    hold.place(home, by="Ann", reason="The auditors are here")
    import sqlite3

    with sqlite3.connect(home.data / "app.db") as database:
        database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
    database.close()
    backups.make(home.backups, home.data / "app.db", database="main", release=release.id)
    (home.backups / "damaged.db").write_bytes(b"")
    return home


PAGES = (
    "/", "/updates", "/updates/u1", "/updates/u2", "/releases", "/backups",
    "/confirm?action=update&ref=v1.1&held=u2", "/confirm?action=rollback", "/confirm?action=hold",
    "/nothing",
)  # fmt: skip
TOLD_APART_BY_COLOUR = ("/", "/updates/u2", "/confirm?action=hold")


def test_every_page_can_be_used_by_everybody(browser: Browser, storied: Home) -> None:
    with (
        dashboard(storied, SETTINGS) as client,
        visit(browser, client.origin, dark=True, allowed=("404",)) as visited,
    ):
        page = visited.page

        def check(path: str, *, light: bool = False) -> None:
            visited.go(path)
            visited.check_access()
            page.set_viewport_size(PHONE)
            visited.check_width()
            if light:
                page.emulate_media(color_scheme="light")
                visited.check_access()
                page.emulate_media(color_scheme="dark")
            page.set_viewport_size(WIDE)

        check("/login", light=True)
        visited.log_in()
        page.wait_for_selector("#update")
        name = backups.all(storied.backups)[0].name
        for path in (*PAGES, f"/confirm?action=restore&backup={name}"):
            check(path, light=path in TOLD_APART_BY_COLOUR)
        Lock(storied).save(Update(id="u9", state=State.SNAPSHOTTED, from_="a" * 12, to="b" * 12))
        check("/", light=True)
        Lock(storied).save(Update(id="u9", state=State.BROKEN, from_="a", to="b", reason="Full."))
        check("/")


def test_a_held_update_is_accepted_after_its_losses_were_shown(
    browser: Browser, storied: Home
) -> None:
    with dashboard(storied, SETTINGS) as client, visit(browser, client.origin) as visited:
        page = visited.page
        visited.log_in()
        visited.go("/updates/u2")
        expect(page.locator(".headline .outcome")).to_have_text("Held")
        page.click("#accept")
        rows = page.locator("tbody tr")
        shown = [row.locator("th, td").all_inner_texts() for row in rows.all()]
        assert shown == [
            ["notes", "12", "5", "7 rows fewer; columns gone: author"],
            ["words", NOTHING, "9", "new"],
            ["old", "3", NOTHING, "the table is gone"],
            ["users", "2", "2", "as before"],
        ]
        expect(page.locator("input[name=accept_data_changes]")).to_have_count(1)


def test_what_a_reader_has_opened_on_a_live_page_stays_open(
    browser: Browser, storied: Home
) -> None:
    history = History(storied)
    Lock(storied).save(Update(id="u9", state=State.REQUESTED, from_="a" * 12, to="b" * 12))
    history.append("u9", "requested", "Update.", to="b" * 12)
    same = {"table": "users", "rows_before": 2, "rows_after": 2}
    history.append(
        "u9", "migration_rehearsed", "It stays.", database="main", duration_s=0.1, changes=[same]
    )
    with dashboard(storied, SETTINGS) as client, visit(browser, client.origin) as visited:
        page = visited.page
        visited.log_in()
        visited.go("/updates/u9")
        page.click("summary")
        expect(page.get_by_text("as before")).to_be_visible()
        history.append("u9", "rehearsed", "It works.")
        expect(page.locator(".log li")).to_have_count(3)
        expect(page.get_by_text("as before")).to_be_visible()


def test_any_release_can_be_asked_for_by_its_name(browser: Browser, storied: Home) -> None:
    with dashboard(storied, SETTINGS) as client, visit(browser, client.origin) as visited:
        page = visited.page
        visited.log_in()
        visited.go("/releases")
        page.get_by_label("Tag, branch or commit").fill("v1.0")
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Update to v1.0?")
        expect(page.locator("input[name=ref]")).to_have_value("v1.0")


def test_the_keyboard_is_enough(browser: Browser, storied: Home) -> None:
    hold.release(storied, by="Ann")
    with dashboard(storied, SETTINGS) as client, visit(browser, client.origin) as visited:
        page = visited.page
        visited.log_in()

        def tab_to(selector: str) -> None:
            for _ in range(40):
                page.keyboard.press("Tab")
                if page.evaluate("s => document.activeElement.matches(s)", selector):
                    return
            raise AssertionError(f"{selector} cannot be reached")

        tab_to(".skip")
        page.keyboard.press("Enter")
        tab_to("#hold")
        page.keyboard.press("Enter")
        page.wait_for_url("**/confirm*")
        tab_to("#reason")
        page.keyboard.type("Audit")
        page.keyboard.press("Enter")
        expect(page.locator("#alerts")).to_contain_text("Audit")
        found = hold.held(storied)
        assert found is not None
        assert found.reason == "Audit"


def test_without_javascript_pages_of_an_update_load_again_by_themselves(
    browser: Browser, storied: Home
) -> None:
    with (
        dashboard(storied, SETTINGS) as client,
        visit(browser, client.origin, scripts=False) as visited,
    ):
        page = visited.page
        visited.log_in()
        Lock(storied).save(Update(id="u9", state=State.SNAPSHOTTED, from_="a" * 12, to="b" * 12))
        History(storied).append("u9", "requested", "Update.", to="b" * 12)
        visited.go("/updates/u9")
        expect(page.locator(".log li")).to_have_count(1)
        expect(page.locator(".steps .current")).to_have_text(re.compile("Migrate"))
        History(storied).append("u9", "migrating", "Migrating database main.")
        expect(page.locator(".log li")).to_have_count(2)
        Lock(storied).forget()
        History(storied).append("u9", "committed", "Committed.", to="b" * 12)
        expect(page.locator(".headline .outcome")).to_have_text("Committed")
