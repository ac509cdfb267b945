"""Who may look: by token, session, proxy or the app around it; and how others are turned away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.dashboard.serving import TOKEN, Client, dashboard, served

from surefoot.config import Dashboard
from surefoot.dashboard import create_app
from surefoot.dashboard.access import Access, token_file
from surefoot.dashboard.throttle import TRIES, Throttle
from surefoot.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import HTTPConnection

    from surefoot.home import Home

PAGES = ("/", "/updates", "/updates/x", "/releases", "/backups", "/live")
READS = ("session", "status", "health", "available", "updates", "updates/x", "releases", "backups")


def test_a_stranger_sees_nothing(stranger: Client) -> None:
    for path in PAGES:
        answer = stranger.get(path)
        assert (answer.status, answer.text) == (303, "")
        assert answer.headers["location"] == f"/login?to={path}"
    for path in READS:
        answer = stranger.get(f"/api/{path}")
        assert (answer.status, answer.json["code"]) == (401, "not_logged_in")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_wrong_token_is_no_token(stranger: Client) -> None:
    assert stranger.with_token("wrong").get("/api/status").json["code"] == "wrong_token"
    answer = stranger.submit("/login", {"token": "wrong"})
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def test_a_log_in_is_a_cookie_that_scripts_and_other_sites_cannot_use(stranger: Client) -> None:
    answer = stranger.submit("/login", {"token": TOKEN, "to": "/releases"})

    assert (answer.status, answer.headers["location"]) == (303, "/releases")
    words = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=strict", "path=/"} <= set(words)


def test_after_the_log_in_there_is_nowhere_else_to_be_sent(stranger: Client) -> None:
    for place in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:1"):
        answer = stranger.submit("/login", {"token": TOKEN, "to": place})
        assert answer.headers["location"] == "/"


def test_a_session_outlives_the_dashboards_restart_and_ends_with_the_log_out(
    home: Home, settings: Dashboard
) -> None:
    with dashboard(home, settings) as first:
        cookie = first.logged_in("Ann").headers["Cookie"]
    with dashboard(home, settings) as second:
        again = Client(second.port, {"Cookie": cookie})
        session = again.get("/api/session").json
        assert (session["name"], session["via"]) == ("Ann", "session")
        assert again.submit("/logout", {"csrf": "stale"}).status == 403
        assert again.get("/api/session").status == 200
        assert again.submit("/logout", {"csrf": session["csrf_token"]}).status == 303
        assert again.get("/api/session").status == 401


def test_another_token_ends_every_session(home: Home, settings: Dashboard) -> None:
    with dashboard(home, settings) as first:
        cookie = first.logged_in().headers["Cookie"]
    with dashboard(home, replace(settings, token="another-token-that-is-long")) as second:
        assert Client(second.port, {"Cookie": cookie}).get("/api/session").status == 401


def test_a_session_ends_by_itself(home: Home, settings: Dashboard) -> None:
    with dashboard(home, replace(settings, session_s=0.2)) as stranger:
        known = stranger.logged_in()
        assert known.get("/api/session").status == 200
        time.sleep(0.25)
        assert known.get("/api/session").status == 401


def test_nothing_that_opens_a_session_is_readable_on_the_disk(home: Home, stranger: Client) -> None:
    name = stranger.logged_in().headers["Cookie"].partition("=")[2]

    kept = [file for file in home.dashboard.rglob("*") if file.is_file()]
    assert len(kept) == 1
    assert kept[0].stat().st_mode & 0o777 == 0o600
    assert home.dashboard.stat().st_mode & 0o777 == 0o700
    content = kept[0].read_text() + str(kept[0])
    assert name not in content
    assert TOKEN not in content


def test_the_first_start_makes_a_token_that_nobody_else_can_read(home: Home) -> None:
    Access(home.dashboard, Dashboard())
    file = token_file(home.dashboard)
    first = file.read_text()

    assert len(first.strip()) >= 40
    assert file.stat().st_mode & 0o777 == 0o600
    Access(home.dashboard, Dashboard())
    assert file.read_text() == first
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="Others can read the token"):
        Access(home.dashboard, Dashboard())
    file.chmod(0o600)
    file.write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        Access(home.dashboard, Dashboard())


def test_after_some_wrong_tokens_the_right_one_has_to_wait_too(stranger: Client) -> None:
    for _ in range(TRIES):
        assert stranger.submit("/login", {"token": "wrong"}).status == 403

    answer = stranger.submit("/login", {"token": TOKEN})
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    refused = stranger.with_token().get("/api/status")
    assert (refused.status, refused.json["code"]) == (429, "too_many_tries")


def test_the_wait_doubles_is_of_one_address_and_ends_with_the_right_token() -> None:
    throttle = Throttle()
    waits = []
    for _ in range(TRIES + 3):
        throttle.failed("192.0.2.1")
        waits.append(round(throttle.wait_s("192.0.2.1")))
    assert waits == [0, 0, 0, 0, 2, 4, 8, 16]
    assert throttle.wait_s("192.0.2.2") == 0
    throttle.succeeded("192.0.2.1")
    assert throttle.wait_s("192.0.2.1") == 0
    for number in range(TRIES):
        throttle.failed(f"2001:db8::{number}")
    assert throttle.wait_s("2001:db8::ffff") > 0


def test_a_proxys_word_counts_only_from_its_address(home: Home, settings: Dashboard) -> None:
    believed = replace(settings, user_header="X-Remote-User")
    with dashboard(home, believed) as stranger:
        session = stranger.get("/api/session", X_Remote_User="bob").json
        assert (session["name"], session["via"]) == ("bob", "proxy")
        assert stranger.get("/api/session", X_Remote_User=" ").status == 401
        assert stranger.get("/api/session", X_Another="bob").status == 401
    elsewhere = replace(believed, trusted=["192.0.2.0/24"])
    with dashboard(home, elsewhere) as stranger:
        assert stranger.get("/api/session", X_Remote_User="bob").status == 401
    with dashboard(home, settings) as stranger:
        assert stranger.get("/api/session", X_Remote_User="bob").status == 401


def test_a_foreign_name_for_our_address_is_refused(home: Home, settings: Dashboard) -> None:
    with dashboard(home, settings) as stranger:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
            answer = stranger.with_token().get("/api/status", Host=host or "[")
            assert (answer.status, answer.json["code"]) == (421, "wrong_host"), host
        for host in ("localhost", "127.0.0.1:1", "[::1]:8710", "192.0.2.7"):
            assert stranger.with_token().get("/api/status", Host=host).status == 200, host
    named = replace(settings, origin="https://updates.example.org")
    with dashboard(home, named) as stranger:
        assert stranger.with_token().get("/api/status", Host="updates.example.org").status == 200
        cookie = stranger.submit(
            "/login", {"token": TOKEN}, Host="updates.example.org",
            Origin="https://updates.example.org",
        )  # fmt: skip
        assert "Secure" in cookie.headers["set-cookie"]


@pytest.fixture
def mounted(home: Home, settings: Dashboard) -> Iterator[Client]:
    """Below /admin/updates in another app, which knows `root`."""

    def identify(request: HTTPConnection) -> str | None:
        return "root" if request.headers.get("x-app-user") == "root" else None

    app = Starlette(routes=[Mount("/admin/updates", create_app(home, settings, identify=identify))])
    with served(app) as client:
        yield Client(client.port, base="/admin/updates")


def test_mounted_in_an_app_it_stays_below_its_path(mounted: Client) -> None:
    assert mounted.get("/").headers["location"] == "/admin/updates/login?to=/"
    page = mounted.get("/", X_App_User="root")
    assert page.status == 200
    assert 'href="/admin/updates/static/style.css' in page.text
    assert ' href="/updates' not in page.text
    cookie = mounted.submit("/login", {"token": TOKEN})
    assert cookie.headers["location"] == "/admin/updates/"
    assert "Path=/admin/updates" in cookie.headers["set-cookie"]
    assert mounted.get("/api/session", X_App_User="root").json["via"] == "app"
    assert mounted.get("/api/status").json["code"] == "not_logged_in"
    assert mounted.get("/api/nothing", X_App_User="root").json["code"] == "not_found"
