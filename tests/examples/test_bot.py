from __future__ import annotations

import http.server
import json
import select
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.examples.deployed import EXAMPLES, Deployed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.system
ADMIN = 7
POLL_S = 20


class BotApi(http.server.ThreadingHTTPServer):
    """Plays the Bot API: one may ask for messages at a time, whoever comes second gets 409."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.changed = threading.Condition()
        self.waiting: list[dict[str, Any]] = []
        self.sent: list[str] = []
        self.polling = 0
        self.polls = 0
        self.conflicts = 0

    def say(self, text: str) -> None:
        with self.changed:
            number = time.monotonic_ns()
            message = {"chat": {"id": ADMIN}, "text": text}
            self.waiting.append({"update_id": number, "message": message})
            self.changed.notify_all()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: BotApi

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method = self.path.rpartition("/")[2]
        if method == "getUpdates":
            self._poll(asked["offset"])
            return
        if method == "sendMessage":
            with self.server.changed:
                self.server.sent.append(asked["text"])
        self._answer(200, {"ok": True, "result": {}})

    def _poll(self, offset: int) -> None:
        api = self.server
        with api.changed:
            api.polls += 1
            if api.polling:
                api.conflicts += 1
                self._answer(409, {"ok": False, "error_code": 409})
                return
            api.polling += 1
        try:
            end_s = time.monotonic() + POLL_S
            while time.monotonic() < end_s and not self._is_gone():
                with api.changed:
                    api.waiting = [m for m in api.waiting if m["update_id"] >= offset]
                    if api.waiting or (api.changed.wait(0.02) and api.waiting):
                        break
            result = api.waiting
        finally:
            with api.changed:
                api.polling -= 1
        if not self._is_gone():
            self._answer(200, {"ok": True, "result": result})

    def _is_gone(self) -> bool:
        """The bot has closed its connection: its request was all that it had to say."""
        return bool(select.select([self.connection], [], [], 0)[0])

    def _answer(self, status: int, what: dict[str, Any]) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Says nothing."""


@pytest.fixture
def api() -> Iterator[BotApi]:
    with BotApi() as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.02,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.mark.slow
def test_two_copies_never_ask_at_once_through_an_update_by_message(
    api: BotApi, tmp_path: Path, wheel: Path
) -> None:
    variables = {"BOT_API": api.url, "BOT_TOKEN": "token", "BOT_ADMIN": str(ADMIN)}
    bot = Deployed("bot", tmp_path, wheel, **variables)
    bot.release("v1.0")
    bot.start()
    try:
        bot.wait_for(lambda: api.polling == 1, "the bot asks for messages")
        bot.wait_until_quiet()
        api.say("hello")
        bot.wait_for(lambda: "1.0: hello" in api.sent, "it answers")
        bot.release("v1.1")
        api.say("/update")
        bot.wait_for(lambda: "The update is staged." in api.sent, "it says so before it ends")
        bot.wait_for(lambda: any("Updated from" in text for text in api.sent), "it is back")
        bot.wait_until_quiet()
        api.say("still there?")
        bot.wait_for(lambda: "1.1: still there?" in api.sent, "the new release answers")
        assert api.conflicts == 0
        assert api.sent.count("The update is staged.") == 1
        assert "committed" in bot.events()
        second(api, tmp_path, variables)
        assert api.conflicts == 1, "a second copy would have been seen"
    finally:
        bot.stop()


def second(api: BotApi, folder: Path, variables: dict[str, str]) -> None:
    """A copy beside the one that runs, as an updater that is less careful would start it."""
    (folder / "second" / "data").mkdir(parents=True)
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / "bot" / "bot.py")],
        cwd=folder / "second",
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "409" in ended.stderr
    assert api.polls > 1
