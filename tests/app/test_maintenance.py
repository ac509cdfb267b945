from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from surefoot.app.lockfile import CLOSED_STATES
from surefoot.app.maintenance import Maintenance

if TYPE_CHECKING:
    from tests.app.conftest import Home

OPEN_STATES = ["requested", "staged", "restored", "rolled_back", "abandoned", "new"]


def turned_away(maintenance: Maintenance, path: str = "/", token: str = "") -> bool:
    return maintenance.turn_away(path, token, "") is not None


@pytest.mark.parametrize("state", sorted(CLOSED_STATES))
def test_closed_states_keep_the_public_out(home: Home, state: str) -> None:
    home.write_lock(state)
    maintenance = Maintenance()
    assert maintenance.is_closed
    assert turned_away(maintenance)


@pytest.mark.parametrize("state", OPEN_STATES)
def test_in_every_other_state_the_app_serves(home: Home, state: str) -> None:
    home.write_lock(state)
    assert not Maintenance().is_closed


def test_without_a_lock_or_without_surefoot_the_app_serves(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Maintenance().is_closed
    home.write_lock("probation")
    monkeypatch.delenv("SUREFOOT_HOME")
    assert not Maintenance().is_closed


def test_a_lock_that_cannot_be_read_leaves_the_app_open(home: Home) -> None:
    home.lock.write_bytes(b'{"state":"prob')
    assert not Maintenance().is_closed


def test_only_the_prober_passes(home: Home) -> None:
    home.write_lock("probation", token="secret")
    maintenance = Maintenance()
    assert not turned_away(maintenance, token="secret")
    for token in ("", "secre", "secret2", "SECRET", "sécret"):
        assert turned_away(maintenance, token=token)


def test_a_lock_without_a_token_lets_nobody_pass(home: Home) -> None:
    home.write_lock("probation", token="")
    assert turned_away(Maintenance(), token="")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/api", "application/json"),
        ("/api/items", "application/json"),
        ("/apifoo", "text/html; charset=utf-8"),
        ("/", "text/html; charset=utf-8"),
        ("/staticfoo", "text/html; charset=utf-8"),
        ("/static/app.css", None),
        ("/static", None),
    ],
)
def test_the_answer_fits_the_path(home: Home, path: str, content_type: str | None) -> None:
    home.write_lock("probation")
    answer = Maintenance().turn_away(path, "", "zh")
    assert (dict(answer.headers)["Content-Type"] if answer else None) == content_type


def test_json_has_a_code_and_a_hint_when_to_retry(home: Home) -> None:
    home.write_lock("probation")
    answer = Maintenance(api_prefixes=["/v1/"]).turn_away("/v1/x", "", "")
    assert answer is not None
    assert answer.status == 503
    facts = json.loads(answer.body)
    assert (facts["code"], facts["retry_after"]) == ("maintenance", 5)
    headers = dict(answer.headers)
    assert headers["Retry-After"] == "5"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Length"] == str(len(answer.body))


@pytest.mark.parametrize("since", ["2026-11-23T20:14:05Z", "2026-11-23T20:14:05", "soon", ""])
def test_whatever_the_lock_says_of_the_time_there_is_a_page(home: Home, since: str) -> None:
    home.write_lock("probation", since=since)
    answer = Maintenance().turn_away("/", "", "zh")
    assert answer is not None
    assert ("20:14:05" in answer.body.decode()) == since.startswith("2026")
    assert dict(answer.headers)["Content-Language"] == "zh-Hans"


def test_the_paths_that_get_json_are_those_of_the_gate(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_lock("probation")
    monkeypatch.setenv("SUREFOOT_API", "/v1 /graphql")
    kinds = []
    for path in ("/v1/notes", "/graphql", "/api/notes"):
        answer = Maintenance().turn_away(path, "", "en")
        assert answer is not None
        kinds.append(dict(answer.headers)["Content-Type"])
    assert kinds == ["application/json", "application/json", "text/html; charset=utf-8"]


def test_the_apps_own_page_takes_the_place_of_ours_while_it_can_be_read(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_lock("probation")
    file = home.root / "closed.html"
    monkeypatch.setenv("SUREFOOT_PAGE", str(file))
    maintenance = Maintenance()
    pages = []
    for text in (None, "<h1>Closed: $title</h1>"):
        if text:
            file.write_text(text)
        answer = maintenance.turn_away("/", "", "en")
        assert answer is not None
        assert dict(answer.headers)["Content-Length"] == str(len(answer.body))
        pages.append(answer.body)
    assert b"Checking that all is well" in pages[0]
    assert pages[1] == b"<h1>Closed: Back in a moment</h1>"


@pytest.mark.parametrize("ending", ["gone", "rolled_back"])
def test_it_opens_by_itself_and_for_good(home: Home, ending: str) -> None:
    home.write_lock("switched")
    maintenance = Maintenance()
    home.write_lock("probation")
    assert turned_away(maintenance)
    if ending == "gone":
        home.lock.unlink()
    else:
        home.write_lock(ending)
    assert not turned_away(maintenance)
    assert not maintenance.is_closed
    home.write_lock("probation")
    assert not maintenance.is_closed


def test_a_lock_that_becomes_unreadable_keeps_the_gate_closed(home: Home) -> None:
    home.write_lock("probation")
    maintenance = Maintenance()
    home.lock.write_bytes(b"torn")
    assert turned_away(maintenance)
    assert not turned_away(maintenance, token="secret")
    home.lock.unlink()
    assert not turned_away(maintenance)


def test_the_lock_is_read_again_only_when_it_has_changed(home: Home) -> None:
    home.write_lock("probation")
    maintenance = Maintenance()
    opened: list[str] = []
    watching = True

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and str(arguments[0]) == str(home.lock):
            opened.append(event)

    sys.addaudithook(note)
    for _ in range(5):
        assert turned_away(maintenance)
    assert opened == []
    home.write_lock("probation", token="another")
    assert turned_away(maintenance, token="secret")
    assert len(opened) == 1
    watching = False
