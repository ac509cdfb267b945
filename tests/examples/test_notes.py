from __future__ import annotations

import contextlib
import http.client
import json
import re
from typing import TYPE_CHECKING, Any

from tests.examples.running import PATIENCE_S, check_out

from surefoot.demo import client
from surefoot.demo.sample import FILES, notes_folder

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.demo.sample import History


def ask(url: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
    """GET, or POST where there is a body; the status and the text of the answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    with contextlib.closing(connection):
        content = None if body is None else json.dumps(body)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(
            "GET" if body is None else "POST",
            path,
            content,
            {"Content-Type": "application/json", **headers},
        )
        response = connection.getresponse()
        return response.status, response.read().decode()


def written(url: str, text: str) -> dict[str, Any]:
    status, answer = ask(url, "/api/notes", {"text": text})
    assert status == http.client.CREATED
    note: dict[str, Any] = json.loads(answer)
    return note


def test_the_first_release_keeps_notes(history: History, tmp_path: Path) -> None:
    release = check_out(history, "v1.0", tmp_path / "app")
    assert release.migrate().returncode == 0
    with release.serving() as app:
        note = written(app.url, "<b>milk</b>")
        assert client.get(app.url, f"/api/notes/{note['id']}") == (200, note)
        assert client.get(app.url, "/api/notes") == (200, [note])
        assert client.get(app.url, "/api/notes/4711") == (404, None)
        assert client.get(app.url, "/health")[0] == http.client.OK
        assert client.get(app.url, "/api/version") == (200, {"version": "1.0"})
        assert "<li>&lt;b&gt;milk&lt;/b&gt;</li>" in ask(app.url, "/")[1]


def test_a_new_release_finds_the_notes_of_the_old_one_with_their_words_counted(
    history: History, tmp_path: Path
) -> None:
    old = check_out(history, "v1.1", tmp_path / "old")
    assert old.migrate().returncode == 0
    with old.serving() as app:
        note = written(app.url, "buy some milk")
    new = check_out(history, "v1.2", tmp_path / "new")
    new.database.parent.rmdir()
    old.database.parent.rename(new.database.parent)
    migrated = new.migrate()
    assert migrated.returncode == 0, migrated.stderr
    with new.serving() as app:
        assert client.get(app.url, "/api/notes") == (200, [{**note, "words": 3}])
        assert written(app.url, "two words")["words"] == 2


def test_health_is_not_claimed_without_a_database(history: History, tmp_path: Path) -> None:
    with check_out(history, "v1.0", tmp_path / "app").serving() as app:
        assert client.get(app.url, "/health")[0] == http.client.INTERNAL_SERVER_ERROR


def test_nobody_but_the_administrator_can_ask_for_an_update(
    history: History, tmp_path: Path
) -> None:
    release = check_out(history, "v1.0", tmp_path / "app")
    release.environment["ADMIN_TOKEN"] = "right"
    with release.serving() as app:
        assert ask(app.url, "/api/admin/update", {})[0] == http.client.FORBIDDEN
        assert (
            ask(app.url, "/api/admin/update", {}, X_Admin_Token="wrong")[0] == http.client.FORBIDDEN
        )


def test_the_requirements_are_pinned_and_name_no_host() -> None:
    text = (notes_folder() / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert lines
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+ \\", line) for line in lines)
    assert text.count("--hash=sha256:") >= len(lines)
    assert "://" not in text


def test_every_file_of_the_sample_app_is_in_its_history() -> None:
    found = {
        str(file.relative_to(notes_folder()))
        for file in notes_folder().rglob("*")
        if file.is_file() and not {"__pycache__", "data"} & set(file.parts)
    }
    assert found == set(FILES)
