"""Administrators are told, and no notifier can be felt by an update."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.cli.conftest import home, remote, supervisor
from tests.observe.telegram import ADDRESS, TOKEN, Telegram
from tests.tiny import PATIENCE_S, Repository, Tiny, free_port

from surefoot import config
from surefoot.observe import delivery, messages
from surefoot.observe.delivery import places
from surefoot.observe.messages import quiet_until
from surefoot.observe.notifications import Notifications
from surefoot.update import events
from surefoot.update.causes import Cause
from surefoot.update.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.cli.conftest import Supervisor

__all__ = ["home", "remote", "supervisor"]
NOW = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)


@pytest.fixture
def telegram() -> Iterator[Telegram]:
    found = Telegram()
    yield found
    found.close()


@pytest.fixture
def tiny(tmp_path: Path, telegram: Telegram, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tiny]:
    """Told of by Telegram; the address is in `.env`."""
    repository = Repository(tmp_path / "source")
    repository.release("v1")
    found = Tiny(tmp_path, repository)
    (found.home.root / ".env").write_text(f"SUREFOOT_NOTIFY_URLS={ADDRESS}\n")
    found.home.data.mkdir()
    told(found, telegram)
    monkeypatch.delenv("SUREFOOT_NOTIFY_URLS", raising=False)
    yield found
    telegram.released.set()
    found.kill_all()


def told(tiny: Tiny, telegram: Telegram, more: str = "") -> None:
    tiny.configure(f'\n[notify]\ntelegram_api = "{telegram.api}"\ninterval = 0.1\n{more}')


def happened(tiny: Tiny, cls: type[events.Event], **facts: Any) -> None:
    line = events.record(cls(at=datetime.now(UTC), update="u1", **facts))
    History(tiny.home).append(line.update, line.event, line.text, **line.facts)


def deliver(tiny: Tiny) -> subprocess.CompletedProcess[str]:
    return tiny.command("deliver")


def test_a_test_message_gets_through_to_a_bot_api_of_ones_own(
    tiny: Tiny, telegram: Telegram
) -> None:
    done = tiny.command("notify-test")
    assert (done.returncode, done.stdout) == (0, "Sent to 1 address.\n"), done.stderr
    assert telegram.asked == [f"/bot{TOKEN}/sendMessage"]
    assert telegram.messages[0]["chat_id"] == 987654321
    assert "notifications work" in telegram.texts()[0]


def test_what_is_refused_is_said_without_a_secret(tiny: Tiny, telegram: Telegram) -> None:
    telegram.behave = "fail"
    done = tiny.command("notify-test")
    assert done.returncode == 1
    assert done.stderr.startswith("surefoot: tgram: ")
    assert "401" in done.stderr
    assert not any(part in done.stdout + done.stderr for part in (*TOKEN.split(":"), "987654321"))


@pytest.mark.parametrize(
    ("language", "wanted"), [("en", "was rolled back; a serves"), ("zh", "a 正在服务")]
)
def test_what_happened_is_told_in_ones_language(
    tiny: Tiny, telegram: Telegram, language: str, wanted: str
) -> None:
    told(tiny, telegram, f'language = "{language}"\n')
    happened(tiny, events.RolledBack, from_="a", to="b", ref="v2", reason="It did not start.")
    assert deliver(tiny).returncode == 0
    [text] = telegram.texts()
    assert wanted in text
    assert "v2" in text
    assert "It did not start." in text


def test_what_comes_together_is_one_message_and_is_told_once(
    tiny: Tiny, telegram: Telegram
) -> None:
    for number in range(100):
        happened(tiny, events.Abandoned, to="b", ref=f"v{number}", cause=Cause.BUILD)
    deliver(tiny)
    deliver(tiny)
    [text] = telegram.texts()
    assert "v99" in text
    assert "80 more" in text
    assert places(tiny.home)["notifications"].sent == 100


def test_whatever_a_command_has_printed_gets_through(tiny: Tiny, telegram: Telegram) -> None:
    """Telegram reads markup, and takes no more than 4096 characters."""
    reason = 'File "<frozen importlib>", in <module>: a & b' + "\n<" * 20_000 + " ValueError: <x>"
    for number in range(30):
        happened(tiny, events.Broken, reason=reason, ref=f"v{number}")
    assert deliver(tiny).returncode == 0
    told = "".join(telegram.texts())
    assert 'File "<frozen importlib>", in <module>: a & b' in told
    assert "ValueError: <x>" in told
    assert "more: see `surefoot history`" in told
    assert places(tiny.home)["notifications"].failed == 0


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")  # Apprise imports it
def test_a_message_has_an_end(tiny: Tiny, telegram: Telegram) -> None:
    long = events.Broken(at=NOW, update="u1", reason="Traceback" + " x" * 9_000 + " ValueError")
    assert len(messages.told(long, "en")) > 9_000
    for count, said in ((1, ""), (30, "more")):
        told = messages.message([long] * count, app="a", host="h", language="en").body
        assert len(told) < messages.LONGEST_BODY + 100
        assert "Traceback" in told
        assert "ValueError" in told
        assert said in told
    notifier = Notifications(config.load(tiny.home.root), [ADDRESS])
    notifier.tell(messages.Message("What is longer than Telegram takes", "word " * 2_000))
    assert sum(text.count("word") for text in telegram.texts()) == 2_000


def test_every_event_has_its_sentence_in_every_language() -> None:
    english = messages.TEXTS["en"]
    for language, texts in messages.TEXTS.items():
        assert {part: names.keys() for part, names in texts.items()} == {
            part: names.keys() for part, names in english.items()
        }
        assert texts["events"].keys() == events.KNOWN.keys()
        assert texts["causes"].keys() == set(Cause)
        for name, kind in events.KNOWN.items():
            assert messages.told(kind(at=NOW, update="u1", text="Text."), language), name
    told = messages.told(events.Broken(at=NOW, update="u1", reason="{x} {0}"), "zh")
    assert "{x} {0}" in told  # what an app prints is no template


def test_a_message_says_what_kind_of_end_it_was_and_why() -> None:
    def told(cls: type[events.Ended], language: str = "en", **facts: Any) -> str:
        known = {"at": NOW, "update": "u1", "from_": "a", "to": "b", "ref": "v2", **facts}
        return messages.told(cls(**known), language)

    beside = {"stage": 1.0, "overlap": 2.0, "take_over": 0.1}
    assert told(events.Committed, durations=beside) == "Updated to v2 (b); nobody had to wait."
    away = {"stage": 1.0, "window": 1.25}
    assert told(events.Committed, durations=away).endswith("the app was away for 1.2 s.")
    assert told(events.Committed, from_=None, durations=away) == "Installed v2 (b)."
    assert "to b (by hand)" in told(events.Committed, kind="rollback", cause=Cause.BY_HAND)
    assert "（迁移失败）" in told(events.RolledBack, "zh", cause=Cause.MIGRATION)
    assert "The rollback to v2" in told(events.Abandoned, kind="rollback", cause=Cause.HELD)
    lost = told(events.Abandoned, to=None, ref=None, cause=Cause.SOURCE, reason="No route.")
    assert lost == "The source could not be asked. No route."


@pytest.mark.parametrize(
    ("hour", "until"),
    [(21, 21), (22, 31), (23, 31), (2, 7), (6, 7), (7, 7), (12, 12)],
)
def test_quiet_hours_span_midnight(hour: int, until: int) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    assert quiet_until(day + timedelta(hours=hour), "22:00-07:00") == day + timedelta(hours=until)


def test_in_quiet_hours_and_within_the_interval_only_what_is_urgent_is_told() -> None:
    text = (
        '[app]\ncommand = "x"\n[source]\ngit = "x"\n[notify]\ninterval = 600\nquiet = "00:00-23:59"'
    )
    notifier = Notifications(config.parse(text), [ADDRESS])
    now = datetime(2026, 3, 1, 12, tzinfo=UTC).astimezone()
    committed, broken = (k(at=now, update="u") for k in (events.Committed, events.Broken))
    assert notifier.not_before([committed], None, now) > now + timedelta(minutes=1)
    assert notifier.not_before([committed, broken], now, now) == now
    notifier = Notifications(config.parse(text.replace("quiet", "#")), [ADDRESS])
    assert notifier.not_before([committed], now, now) == now + timedelta(seconds=600)
    assert not notifier.wants(events.Staged(at=now, update="u"))


def test_a_home_in_which_nothing_has_happened_yet_has_nobody_to_tell(tiny: Tiny) -> None:
    """So `surefoot run` finds it at its very first start."""
    tiny.home.data.rmdir()
    done = deliver(tiny)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "behaviour",
    [
        "hang",
        pytest.param("fail", marks=pytest.mark.slow),
        pytest.param("flood", marks=pytest.mark.slow),
    ],
)
def test_a_notifier_of_any_kind_is_not_waited_for_by_an_update(
    tiny: Tiny, telegram: Telegram, behaviour: str
) -> None:
    """An update has ended while the server still holds the message about the one before."""
    telegram.behave = behaviour
    every = ", ".join(f'"{name}"' for name in events.KNOWN)
    told(tiny, telegram, f"events = [{every}]\n")
    tiny.start()
    tiny.wait_for_version("v1")
    tiny.wait_until_quiet()
    tiny.wait_for(lambda: telegram.asked, "the message is held")
    tiny.repository.release("v2")
    assert tiny.command("update", "--wait").returncode == 0
    assert tiny.version() == "v2"
    notifications = places(tiny.home).get("notifications")
    assert notifications is None or notifications.sent == 0
    assert not telegram.released.is_set()
    telegram.behave = "ok"
    telegram.released.set()
    tiny.wait_for(lambda: any("v2" in text or "main" in text for text in telegram.texts()), "told")
    for file in (tiny.log, *tiny.home.data.glob("update_*")):
        assert TOKEN.partition(":")[2] not in file.read_text(errors="replace")


def test_of_a_broken_update_is_told_after_a_restart(tiny: Tiny, telegram: Telegram) -> None:
    """The way out was blocked when it broke, and nothing of the app runs."""
    tiny.start()
    tiny.wait_for_version("v1")
    tiny.wait_until_quiet()
    tiny.wait_for(lambda: telegram.messages, "told of the installation")
    telegram.behave = "fail"
    tiny.stop()
    tiny.home.lock.write_bytes(b"{")
    folder = tiny.home.backups / "in_flight" / "u7"
    folder.mkdir(parents=True)
    (folder / "update.json").write_bytes(b"{")
    tiny.start()
    tiny.wait_for(lambda: "broken" in tiny.events(), "it is broken")
    tiny.wait_for(lambda: places(tiny.home)["notifications"].failed, "it was tried")
    tiny.stop()
    telegram.behave = "ok"
    tiny.start()
    tiny.wait_for(lambda: "BROKEN" in telegram.texts()[-1], "it is told")
    assert places(tiny.home)["notifications"].failed >= 1


class Faulty:
    """Fails as often as it is told to; says what it was asked to send."""

    name = "faulty"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.sent: list[str] = []

    def wants(self, event: events.Event) -> bool:  # noqa: ARG002
        return True

    def not_before(self, found: object, last: object, now: datetime) -> datetime:  # noqa: ARG002
        return now

    def send(self, found: Sequence[events.Event]) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("the secret is 42")
        self.sent += [event.name for event in found]


def test_a_failure_is_counted_and_said_and_tried_again(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_BACK_OFF_S", (0.01, 0.01))
    monkeypatch.setattr("surefoot.control.is_running", lambda _: True)
    happened(tiny, events.Staged)
    said: list[str] = []
    adapter = Faulty(2)
    courier = delivery.Courier(tiny.home, [adapter], lambda _: True, said.append)
    assert courier.run() is None
    assert adapter.sent == ["staged"]
    place = places(tiny.home)["faulty"]
    assert (place.sent, place.failed, place.tries) == (1, 2, 0)
    assert len(said) == 2
    assert "OSError" in said[0]
    assert "42" not in said[0]


def test_a_new_start_does_not_wait_for_the_end_of_a_pause(tiny: Tiny) -> None:
    happened(tiny, events.Broken)
    later = datetime.now(UTC) + timedelta(minutes=15)
    waiting = {"faulty": delivery.Place(offset=0, tries=9, failed=9, next_try=later)}
    tiny.home.delivered.write_bytes(msgspec.json.encode(waiting))
    adapter = Faulty(0)
    assert delivery.Courier(tiny.home, [adapter], lambda _: True).run() is None
    assert adapter.sent == ["broken"]


def test_of_those_who_wait_for_the_next_try_there_is_one(supervisor: Supervisor) -> None:
    """However often the engine is started while nobody takes what is told."""
    home = supervisor.home
    with (home.root / "surefoot.toml").open("a") as file:
        file.write(f'\n[logs]\nsyslog = "tcp://127.0.0.1:{free_port()}"\n')
    History(home).append("u1", "staged", "Ready.")
    home.delivered.write_bytes(b'{"syslog": {"offset": 0, "tries": 9, "failed": 9}}')

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-m", "surefoot", "deliver", "--home", str(home.root)],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def waits(process: subprocess.Popen[bytes]) -> bool:
        line = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        return line.startswith(b"sh\0-c\0sleep 900")

    first = start()
    wait_for(lambda: waits(first), "it waits for the next try")
    second = start()
    try:
        assert first.wait(PATIENCE_S) == -signal.SIGTERM
        wait_for(lambda: waits(second), "the other waits")
        supervisor.end()
        assert start().wait(PATIENCE_S) == 0  # nothing runs that it could wait for
        assert second.poll() is None
    finally:
        os.killpg(second.pid, signal.SIGKILL)
        second.wait()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.05)


def test_what_is_too_old_is_given_up(tiny: Tiny) -> None:
    old = events.record(events.Staged(at=datetime.now(UTC) - timedelta(days=2), update="u1"))
    tiny.home.history.write_bytes(msgspec.json.encode(old) + b"\n")
    tiny.home.delivered.write_bytes(b'{"faulty": {"offset": 0}}')
    adapter = Faulty(0)
    courier = delivery.Courier(tiny.home, [adapter], lambda _: True)
    courier.run()
    assert adapter.sent == []
    assert courier._place(adapter).given_up == 1


def test_nothing_is_loaded_where_nothing_is_configured(tiny: Tiny) -> None:
    (tiny.home.root / ".env").unlink()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from surefoot.cli.engine import _engine\n"
        "from surefoot.home import Home\n"
        "_engine(Home(Path(sys.argv[1])))\n"
        "libraries = ('apprise', 'opentelemetry', 'structlog', 'prometheus_client', 'matplotlib',\n"
        "             'surefoot.observe.')\n"
        "print([name for name in sys.modules if name.startswith(libraries)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny.home.root)],
        env={k: v for k, v in os.environ.items() if not k.startswith("SUREFOOT_")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr
