"""What people do in the dashboard: by whom, from where, and with what in the history."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from tests.cli.conftest import engine
from tests.dashboard.serving import Client, dashboard

from surefoot.dashboard import forms
from surefoot.dashboard.api import OPERATIONS
from surefoot.releases.ledger import Ledger
from surefoot.update import hold, requests
from surefoot.update.history import History
from surefoot.update.lock import Lock, Update, only_engine
from surefoot.update.states import State

if TYPE_CHECKING:
    from tests.cli.conftest import Supervisor

    from surefoot.config import Dashboard
    from surefoot.home import Home

DENIED = "0123456789ab"
CHANGES = [(each.method, f"/api{each.path}") for each in OPERATIONS if each.changes]
BODIES = {"POST": {"kind": "update"}, "PUT": {"reason": "x"}}
FIELDS = {
    "/ask": {"kind": "update"},
    "/hold": {"reason": "x"},
    "/allow": {"release": DENIED},
    "/look": {},
    "/logout": {},
}


@pytest.fixture
def ready(home: Home, supervisor: Supervisor) -> Home:
    """A home in which every change would be made."""
    now = datetime.now(UTC)
    Ledger.load(home.ledger, now=now).deny(DENIED, "It was ill.", now)
    return supervisor.home


def state(home: Home) -> tuple[object, ...]:
    """What a change would change."""
    waiting = requests.waiting(home)
    ledger = Ledger.read(home.ledger)
    sessions = sorted(file.name for file in (home.dashboard / "sessions").glob("*"))
    return waiting, hold.held(home), ledger.denied, History(home).size(), sessions


def change(client: Client, method: str, path: str, **headers: str) -> int:
    body = json.dumps(BODIES[method]) if method in BODIES else None
    kind = {"Content_Type": "application/json"} if body else {}
    where = path.replace("{release}", DENIED)
    return client.ask(method, where, body, **{**kind, **headers}).status


def test_every_form_and_operation_that_changes_something_is_tried_here() -> None:
    assert set(FIELDS) == {*forms.ACTIONS, "/logout"}
    assert len(CHANGES) == 4
    assert {each.method for each in OPERATIONS if not each.changes} == {"GET"}


def test_nothing_is_changed_without_a_log_in(ready: Home, stranger: Client) -> None:
    before = state(ready)

    for method, path in CHANGES:
        assert change(stranger, method, path) == 401
        assert change(stranger, method, path, X_CSRF_Token="0" * 64, Cookie="surefoot_x=y") == 401
        assert change(stranger.with_token("wrong"), method, path) in {401, 429}
    for path, fields in FIELDS.items():
        assert stranger.submit(path, fields).status == 401
    assert state(ready) == before


def test_nothing_is_changed_from_another_origin(ready: Home, stranger: Client) -> None:
    known = stranger.logged_in()
    csrf = known.get("/api/session").json["csrf_token"]
    before = state(ready)
    foreign = (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{stranger.port + 1}"},
        {"Origin": f"http://127.0.0.1:{stranger.port}.evil.example"},
        {"Sec_Fetch_Site": "cross-site", "Origin": ""},
        {"Sec_Fetch_Site": "same-site", "Origin": ""},
    )
    for headers in foreign:
        for method, path in CHANGES:
            for client in (known, stranger.with_token()):
                status = change(client, method, path, X_CSRF_Token=csrf, **headers)
                assert status == 403, (method, path, headers)
        for path, fields in FIELDS.items():
            assert known.submit(path, fields | {"csrf": csrf}, **headers).status == 403
        assert stranger.submit("/login", {"token": "x"}, **headers).status == 403
    for method, path in CHANGES:  # by a cookie, and nobody says from where
        assert change(known, method, path, X_CSRF_Token=csrf) == 403
    assert state(ready) == before


def test_nothing_is_changed_with_a_stale_token(ready: Home, stranger: Client) -> None:
    known, other, ended = (stranger.logged_in() for _ in range(3))
    csrf = {name: c.get("/api/session").json["csrf_token"] for name, c in
            (("known", known), ("other", other), ("ended", ended))}  # fmt: skip
    assert ended.submit("/logout", {"csrf": csrf["ended"]}).status == 303
    before = state(ready)
    origin = {"Origin": stranger.origin}

    for method, path in CHANGES:
        for stale in (csrf["other"], csrf["ended"], "", csrf["known"][:-1], csrf["known"] + "0"):
            assert change(known, method, path, X_CSRF_Token=stale, **origin) == 403
        assert change(ended, method, path, X_CSRF_Token=csrf["ended"], **origin) == 401
    for path, fields in FIELDS.items():
        for stale in (csrf["other"], csrf["ended"], ""):
            assert known.submit(path, fields | {"csrf": stale}).status == 403
        assert ended.submit(path, fields | {"csrf": csrf["ended"]}).status == 401
    assert state(ready) == before


def test_read_only_shows_everything_and_changes_nothing(ready: Home, settings: Dashboard) -> None:
    with dashboard(ready, replace(settings, read_only=True)) as stranger:
        client, known = stranger.with_token(), stranger.logged_in()
        csrf = known.get("/api/session").json["csrf_token"]
        before = state(ready)
        for method, path in CHANGES:
            assert change(client, method, path) == 403
        for path in forms.ACTIONS:
            assert known.submit(path, FIELDS[path] | {"csrf": csrf}).status == 403
        assert state(ready) == before
        assert known.get("/confirm?action=update").status == 403
        for page in ("/", "/releases", "/backups"):
            shown = known.get(page)
            assert shown.status == 200
            assert "/confirm" not in shown.text
            assert 'action="/allow"' not in shown.text
        assert known.submit("/logout", {"csrf": csrf}).status == 303


def test_an_update_is_asked_for_with_who_did_it(
    ready: Home, supervisor: Supervisor, stranger: Client
) -> None:
    known = stranger.logged_in("Ann <b>")
    csrf = known.get("/api/session").json["csrf_token"]

    answer = known.submit("/ask", {"kind": "update", "ref": "v1.0", "csrf": csrf})

    waiting = requests.waiting(ready)
    assert waiting is not None
    assert (waiting.kind, waiting.ref, waiting.origin) == ("update", "v1.0", "dashboard")
    assert waiting.by == "Ann <b> (session, 127.0.0.1)"
    assert (answer.status, answer.headers["location"]) == (303, f"/updates/{waiting.id}")
    assert known.get(f"/updates/{waiting.id}").status == 200
    assert "update" in supervisor.heard
    again = stranger.with_token().ask(
        "POST", "/api/updates", '{"kind":"rollback"}', Content_Type="application/json"
    )
    assert (again.status, again.json["code"]) == (409, "refused")
    [event] = History(ready).read()
    assert (event.event, event.facts["by"]) == ("refused", "token (token, 127.0.0.1)")
    assert "already" in event.facts["reason"]


def test_the_page_of_an_update_tells_how_it_ended(
    ready: Home, supervisor: Supervisor, client: Client
) -> None:
    facts = {"from": "a" * 12, "to": "b" * 12, "ref": "v2", "kind": "update", "by": "Ann"}
    supervisor.engine = engine(
        ready,
        ("requested", "Update.", facts),
        ("staged", "Ready.", {}),
        ("rolled_back", "Rolled back.", facts | {"reason": "It is <ill>."}),
    )
    asked = client.ask("POST", "/api/updates", '{"kind":"update"}', Content_Type="application/json")
    assert asked.status == 202
    supervisor.end()

    page = client.get(f"/updates/{asked.json['id']}").text

    assert "It is &lt;ill&gt;." in page
    assert "Rolled back" in page


def test_what_cannot_be_asked_for_is_refused_with_the_reason(ready: Home, client: Client) -> None:
    def ask(body: str, kind: str = "application/json") -> tuple[int, str]:
        answer = client.ask("POST", "/api/updates", body, Content_Type=kind)
        return answer.status, answer.json["code"]

    assert ask("{") == (400, "bad_request")
    assert ask('{"kind":"format"}') == (400, "bad_request")
    assert ask('{"kind":"update","reff":"x"}') == (400, "bad_request")
    assert ask('{"kind":"update"}', "text/plain") == (415, "not_json")
    assert ask('{"kind":"update","ref":"' + "x" * 70_000 + '"}') == (413, "too_large")
    assert ask('{"kind":"restore"}') == (409, "refused")
    assert ask('{"kind":"restore","backup":"none"}') == (409, "refused")
    Lock(ready).save(Update(id="u1", state=State.PROBATION, from_="a", to="b"))
    assert ask('{"kind":"update"}') == (409, "refused")
    assert requests.waiting(ready) is None


def test_without_a_supervisor_it_says_so(home: Home, client: Client) -> None:
    answer = client.ask(
        "POST", "/api/updates", '{"kind":"update"}', Content_Type="application/json"
    )
    assert (answer.status, answer.json["code"]) == (503, "not_running")
    assert "surefoot run" in answer.json["next_step"]
    assert [event.event for event in History(home).read()] == ["refused"]


def test_a_hold_is_placed_and_released(ready: Home, stranger: Client) -> None:
    known = stranger.logged_in("Ann")
    csrf = known.get("/api/session").json["csrf_token"]

    assert known.submit("/hold", {"csrf": csrf, "reason": "Audit"}).status == 303
    held = hold.held(ready)
    assert held is not None
    assert (held.by, held.reason) == ("Ann (session, 127.0.0.1)", "Audit")
    assert "Audit" in known.get("/").text
    client = stranger.with_token()
    assert client.ask("DELETE", "/api/hold").status == 204
    assert client.ask("DELETE", "/api/hold").status == 409
    assert hold.held(ready) is None
    answer = client.ask("PUT", "/api/hold", "{}", Content_Type="application/json")
    assert (answer.status, answer.json["reason"]) == (200, "")
    events = [(event.event, event.facts["by"]) for event in History(ready).read()]
    assert events == [
        ("hold_placed", "Ann (session, 127.0.0.1)"),
        ("hold_released", "token (token, 127.0.0.1)"),
        ("hold_placed", "token (token, 127.0.0.1)"),
    ]


def test_a_denied_release_is_allowed_again_but_not_while_the_engine_works(
    ready: Home, client: Client
) -> None:
    with only_engine(ready):
        answer = client.ask("DELETE", f"/api/denied/{DENIED}")
        assert answer.status == 409
        assert "Nothing was changed" in answer.json["message"]
    assert DENIED in Ledger.read(ready.ledger).denied
    assert client.ask("DELETE", f"/api/denied/{DENIED}").status == 204
    assert DENIED not in Ledger.read(ready.ledger).denied
    assert client.ask("DELETE", f"/api/denied/{DENIED}").status == 409
    [event] = History(ready).read()
    assert (event.event, event.facts["release"]) == ("allowed", DENIED)
