"""A long-polling bot. Two copies of it must never run at once: the Bot API answers 409 then."""

import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

from surefoot.app import (
    UpdateError,
    busy,
    post_update_bootstrap_sync,
    report_ready,
    trigger_update_sync,
)

VERSION = "1.0"
API = os.environ.get("BOT_API", "https://api.telegram.org") + "/bot" + os.environ["BOT_TOKEN"]
ADMIN = int(os.environ.get("BOT_ADMIN", "0"))
OFFSET = Path("data/offset")
POLL_S = 20


class Ending:
    """SIGTERM ends a poll at once, and never cuts a message in two."""

    is_polling = False
    is_wanted = False

    def __init__(self):
        signal.signal(signal.SIGTERM, self.want)

    def want(self, *_):
        self.is_wanted = True
        if self.is_polling:
            sys.exit(0)


def call(method, **parameters):
    body = json.dumps(parameters).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{API}/{method}", body, headers)
    with urllib.request.urlopen(request, timeout=POLL_S + 10) as answer:
        return json.load(answer)["result"]


def answer_to(text, chat):
    if text == "/update" and chat == ADMIN:
        try:
            return f"The update is {trigger_update_sync().outcome}."
        except UpdateError as error:
            return f"No update: {error}"
    return f"{VERSION}: {text}"


def serve(ending):
    offset = int(OFFSET.read_text()) if OFFSET.exists() else 0
    while not ending.is_wanted:
        ending.is_polling = True
        found = [] if ending.is_wanted else call("getUpdates", offset=offset, timeout=POLL_S)
        ending.is_polling = False
        with busy("it answers messages"):
            for update in found:
                offset = update["update_id"] + 1
                OFFSET.write_text(str(offset))  # before it is answered: never twice
                chat = update["message"]["chat"]["id"]
                answer = answer_to(update["message"]["text"], chat)
                call("sendMessage", chat_id=chat, text=answer)


def main():
    ending = Ending()
    result = post_update_bootstrap_sync()
    call("getMe")  # not getUpdates: only one may ask for those
    report_ready()
    if ADMIN and result.kind != "none":
        call("sendMessage", chat_id=ADMIN, text=result.message)
    serve(ending)


main()
