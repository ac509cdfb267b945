"""What the API reads: the same as the command line, and as its description says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from tests.cli.conftest import Commands, install

from surefoot.dashboard.api import OPERATIONS
from surefoot.dashboard.wording import LANGUAGES, TEXTS, Wording
from surefoot.update.history import History
from surefoot.update.lock import Lock, Update
from surefoot.update.states import State

if TYPE_CHECKING:
    from tests.dashboard.serving import Client
    from tests.releases.remote import Remote

    from surefoot.home import Home
    from surefoot.releases.store import Release


@pytest.mark.usefixtures("installed")
def test_it_answers_what_the_commands_print(home: Home, client: Client) -> None:
    for name in ("status", "releases", "backups"):
        assert client.get(f"/api/{name}").json == Commands(home)(name, "--json").json


def test_what_is_available_comes_with_its_commits(
    client: Client, remote: Remote, installed: Release
) -> None:
    newest = remote.commit({"a": "1"}, "Add <b>a</b>")

    found = client.get("/api/available").json

    assert found["error"] is None
    assert found["found"]["current"]["release"] == installed.id
    assert found["found"]["newest"]["commit"] == newest
    assert [change["subject"] for change in found["found"]["changes"]] == ["Add <b>a</b>"]
    page = client.get("/").text
    assert "Add &lt;b&gt;a&lt;/b&gt;" in page
    assert "<b>a</b>" not in page


def test_what_is_available_is_asked_anew_once_another_release_is_in_use(
    home: Home, client: Client, remote: Remote, installed: Release
) -> None:
    newest = remote.commit({"a": "1"}, "Add a")
    assert client.get("/api/available").json["found"]["current"]["release"] == installed.id

    install(home, newest, "main")

    found = client.get("/api/available").json["found"]
    assert (found["available"], found["changes"]) == (False, [])


def test_a_source_that_cannot_be_asked_is_told(client: Client, remote: Remote) -> None:
    remote.folder.rename(remote.folder.with_name("gone"))

    found = client.get("/api/available").json

    assert found["found"] is None
    assert "cannot be used" in found["error"]


def told(home: Home) -> None:
    history = History(home)
    first: dict[str, Any] = {"to": "b" * 12, "ref": "v1", "kind": "update"}
    second: dict[str, Any] = {"from": "b" * 12, "to": "c" * 12, "ref": "v2", "kind": "update"}
    history.append("u1", "requested", "Update.", **first)
    history.append("u1", "committed", "Committed.", **first, durations={"stage": 2.5})
    history.append("u2", "requested", "Update.", **second)
    changes = [
        {"table": "notes", "rows_before": 12, "rows_after": 5, "columns_gone": ["author"]},
        {"table": "words", "rows_before": 3141, "rows_after": 3141},
    ]
    facts: dict[str, Any] = {"database": "main", "duration_s": 1.5, "changes": changes}
    history.append("u2", "migration_rehearsed", "It took 1.5 s.", **facts)
    history.append("u2", "staged", "Ready.")
    failed: dict[str, Any] = {**second, "reason": "It was ill.", "cause": "unhealthy"}
    failed["output"] = "boom\n"
    history.append("u2", "rolled_back", "Rolled back.", **failed)
    history.append("u3", "up_to_date", "Nothing new.")


def test_the_updates_are_told_from_the_history(home: Home, client: Client) -> None:
    told(home)

    found = client.get("/api/updates").json

    assert [update["id"] for update in found] == ["u2", "u1"]
    assert (found[0]["outcome"], found[0]["reason"]) == ("rolled_back", "It was ill.")
    assert [update["cause"] for update in found] == ["unhealthy", None]
    assert (found[0]["from_ref"], found[0]["ref"]) == ("v1", "v2")
    assert found[0]["downtime_s"] is not None
    assert found[1]["durations"] == {"stage": 2.5}
    assert found[1]["downtime_s"] is None
    assert client.get("/api/updates?limit=1").json == found[:1]
    History(home).append("u4", "requested", "Update.", to="d" * 12)
    assert client.get("/api/updates").json[0]["id"] == "u4"
    home.history.unlink()
    assert client.get("/api/updates").json == []


def test_one_update_is_told_in_full(home: Home, client: Client) -> None:
    told(home)

    found = client.get("/api/updates/u2").json

    names = ["requested", "migration_rehearsed", "staged", "rolled_back"]
    assert [event["event"] for event in found["events"]] == names
    assert found["output"] == "boom\n"
    [rehearsed] = found["rehearsals"]
    change, unchanged = rehearsed["changes"]
    assert (change["rows_before"], change["rows_after"]) == (12, 5)
    assert change["columns_gone"] == ["author"]
    assert (unchanged["table"], unchanged["rows_after"]) == ("words", 3141)
    page = client.get("/updates/u2").text
    assert "7 rows fewer" in page
    assert "3141" in page
    assert "It was ill." in page
    assert "it was not healthy" in page
    assert "未通过健康检查" in client.get("/updates/u2", Accept_Language="zh").text
    assert client.get("/api/updates/u9").json["code"] == "not_found"


def test_where_nothing_was_printed_it_says_where_the_app_has_printed(
    home: Home, client: Client
) -> None:
    history = History(home)
    for name, cause in (("u1", "unhealthy"), ("u2", "source")):
        history.append(name, "requested", "Update.", to="b" * 12)
        history.append(name, "rolled_back", "Rolled back.", to="b" * 12, cause=cause)
    told = {name: client.get(f"/updates/{name}").text for name in ("u1", "u2")}
    assert "stands where `surefoot run` prints" in told["u1"]
    assert "stands where `surefoot run` prints" not in told["u2"]


def test_that_the_newest_release_came_to_nothing_before_is_told_before_it_is_tried_again(
    home: Home, client: Client, remote: Remote, installed: Release
) -> None:
    newest = remote.commit({"a": "1"}, "Add a")[:12]
    client.get("/api/available")
    facts: dict[str, Any] = {"from": installed.id, "to": newest, "ref": "main", "kind": "update"}
    History(home).append("u1", "requested", "Update.", **facts)
    History(home).append("u1", "abandoned", "Given up.", **facts, reason="No <wheel> fits.")

    page = client.get("/").text

    assert "Abandoned just now:" in page
    assert '/updates/u1">No &lt;wheel&gt; fits.' in page
    History(home).append("u2", "requested", "Update.", **facts | {"to": "c" * 12})
    History(home).append("u2", "abandoned", "Given up.", **facts | {"to": "c" * 12})
    assert client.get("/").text.count("No &lt;wheel&gt; fits.") == 2  # once in the list


def test_prometheus_reads_the_metrics_with_the_token(
    home: Home, client: Client, stranger: Client
) -> None:
    told(home)

    answer = client.get("/metrics")

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'surefoot_updates_total{kind="update",outcome="rolled_back"} 1.0' in answer.text
    History(home).append("u9", "rolled_back", "Rolled back.", to="d" * 12)
    assert 'outcome="rolled_back"} 2.0' in client.get("/metrics").text
    refused = stranger.get("/metrics")
    assert (refused.status, refused.json["code"]) == (401, "not_logged_in")


def test_a_limit_that_cannot_be_meant_is_refused(client: Client) -> None:
    for limit in ("0", "-1", "201", "x", "", "1e2", "²"):
        answer = client.get(f"/api/updates?limit={quote(limit)}")
        assert (answer.status, answer.json["code"]) == (400, "bad_request"), limit


def test_the_update_in_flight_is_told_without_its_secret(home: Home, client: Client) -> None:
    Lock(home).save(Update(id="u1", state=State.PROBATION, from_="a", to="b", token="hush"))

    answer = client.get("/api/status")

    assert answer.json["update"]["state"] == "probation"
    assert "hush" not in answer.text
    assert "hush" not in client.get("/").text


def test_rubbish_on_the_disk_is_told_not_raised(home: Home, client: Client) -> None:
    for path in (home.lock, home.history, home.ledger, home.request, home.hold):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'\x00{"schema":')
        for page in ("/", "/updates", "/releases", "/backups", "/api/status", "/api/updates"):
            assert client.get(page).status == 200, (path, page)


def test_without_a_configuration_it_still_shows(home: Home, client: Client) -> None:
    (home.root / "surefoot.toml").write_text("[app")

    assert "is not TOML" in client.get("/").text
    assert "is not TOML" in client.get("/api/status").json["configuration"]


def test_errors_are_json_and_say_what_to_do(client: Client) -> None:
    for method, path, status, code in (
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api", 404, "not_found"),
        ("DELETE", "/api/status", 405, "method_not_allowed"),
    ):
        answer = client.ask(method, path)
        assert (answer.status, answer.json["code"]) == (status, code)
        assert set(answer.json) == {"code", "message", "next_step"}
    assert "GET" in client.ask("DELETE", "/api/status").headers["allow"]
    assert client.get("/nothing").headers["content-type"].startswith("text/html")


def test_every_answer_forbids_what_a_page_does_not_need(client: Client, stranger: Client) -> None:
    answers = [client.get("/"), client.get("/api/status"), stranger.get("/"), client.get("/x")]
    answers.append(stranger.get("/login", Host="evil.example"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_every_page_is_there_in_every_language(home: Home, client: Client) -> None:
    told(home)
    install(home, "c" * 40, "v2")
    for language in LANGUAGES:
        for path in ("/", "/updates", "/updates/u2", "/releases", "/backups", "/login",
                     "/confirm?action=update", "/confirm?action=rollback", "/confirm?action=hold",
                     "/nothing"):  # fmt: skip
            page = client.get(path, Accept_Language=language)
            assert page.status in {200, 303, 404}, (language, path)
            assert page.status == 303 or f'lang="{Wording(language).tag}"' in page.text


def test_a_release_that_took_over_beside_the_old_one_was_away_for_no_time(
    home: Home, client: Client
) -> None:
    facts: dict[str, Any] = {"from": "a" * 12, "to": "b" * 12, "ref": "v2", "kind": "update"}
    history = History(home)
    history.append("u1", "requested", "Update.", **facts)
    history.append("u1", "staged", "Ready.")
    took = {"stage": 1.0, "overlap": 2.0, "take_over": 0.1}
    history.append("u1", "committed", "It took over.", **facts, durations=took)
    history.append("u2", "requested", "Update.", **facts)
    history.append("u2", "committed", "Committed.", **facts, durations={"window": 1.25})

    assert [update["downtime_s"] for update in client.get("/api/updates").json] == [1.25, 0.0]
    assert "Take over" in client.get("/updates/u1").text
    Lock(home).save(Update(id="u3", state=State.PROVEN, from_="a", to="b", overlaps=True))
    assert "Take over" in client.get("/").text
    for state in State:
        Lock(home).save(Update(id="u3", state=state, from_="a", to="b"))
        assert client.get("/").status == 200, state


def test_every_language_has_every_text_with_the_same_gaps() -> None:
    gaps = {
        language: {
            name: sorted(re.findall(r"{\w+}", text))
            for name, text in texts.items()
            if not name.startswith("event_")  # what an event is called in English is its name
        }
        for language, texts in TEXTS.items()
    }
    assert gaps["zh"] == gaps["en"]


def test_the_description_names_every_operation_and_no_other(stranger: Client) -> None:
    described: dict[str, Any] = stranger.get("/api/openapi.json").json

    assert described["openapi"] == "3.1.0"
    found = {
        (method.upper(), path) for path, verbs in described["paths"].items() for method in verbs
    }
    assert found == {(operation.method, operation.path) for operation in OPERATIONS}
    text = json.dumps(described)
    for name in described["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text
