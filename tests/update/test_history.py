import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from surefoot.home import Home
from surefoot.update import history as module
from surefoot.update.history import History


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are closed after some ten events."""
    monkeypatch.setattr(module, "FILE_BYTES", 1000)
    monkeypatch.setattr(module, "KEPT_FILES", 3)


def names(history: History) -> list[str]:
    return [e.event for e in history.read()]


def test_events_are_read_in_the_order_in_which_they_happened(home: Home) -> None:
    history = History(home)
    for event in ("requested", "staged", "committed"):
        history.append("u1", event, f"It {event}.", to="b")
    assert names(history) == ["requested", "staged", "committed"]
    assert [e.event for e in history.newest()] == ["committed", "staged", "requested"]
    assert next(history.read()).facts == {"to": "b"}


def test_a_line_torn_by_a_crash_costs_only_itself(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    with home.history.open("ab") as file:
        file.write(b'{"at":"2026-01-')
    assert names(history) == ["requested"]
    assert [e.event for e in history.newest()] == ["requested"]
    history.append("u1", "staged")
    assert names(history) == ["requested", "staged"]
    assert [e.event for e in history.newest()] == ["staged", "requested"]


def test_a_line_without_its_end_does_not_count_yet(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    home.history.write_bytes(home.history.read_bytes()[:-1])
    assert names(history) == []
    assert list(history.newest()) == []


def test_a_repeated_end_is_told_once(home: Home) -> None:
    history = History(home)
    history.append_once("u1", "committed")
    history.append_once("u1", "committed")
    history.append_once("u2", "committed")
    assert [e.update for e in history.read()] == ["u1", "u2"]


@pytest.mark.usefixtures("small")
def test_a_repeated_end_is_told_once_although_its_file_was_closed(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    history.append_once("u1", "broken")
    for _ in range(15):
        history.append("u2", "refused")
    history.append_once("u1", "broken")
    assert names(history).count("broken") == 1
    assert len(list(home.data.glob("update_history.0*"))) == 1
    assert history.has_ended("u1")
    assert not history.has_ended("u3")


def test_a_follower_goes_on_where_it_stopped(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    [(_, offset)] = history.follow()
    assert offset == history.size()
    history.append("u1", "staged")
    assert [e.event for e, _ in history.follow(offset)] == ["staged"]


@pytest.mark.usefixtures("small")
def test_a_follower_misses_nothing_while_files_are_closed(home: Home) -> None:
    history = History(home)
    offset, seen = history.size(), []
    for number in range(60):
        history.append("u1", f"e{number}")
        if number % 7 == 0:
            for event, behind in history.follow(offset):
                seen.append(event.event)
                offset = max(offset, behind)
    seen += [e.event for e in history.read(offset)]
    assert seen == [f"e{number}" for number in range(60)]


@pytest.mark.usefixtures("small")
def test_old_files_go_and_what_is_left_is_whole(home: Home) -> None:
    history = History(home)
    for number in range(200):
        history.append("u1", f"e{number}")
    files = sorted(home.data.glob("update_history*"))
    assert len(files) == 4  # three closed, and the live one
    kept = names(history)
    assert kept == [f"e{number}" for number in range(200 - len(kept), 200)]
    assert [e.event for e in history.newest()] == kept[::-1]
    assert sum(f.stat().st_size for f in files) < history.size()
    assert names(history) == [e.event for e in history.read(3)]  # of what is gone


@pytest.mark.usefixtures("small")
def test_all_of_one_update_is_found(home: Home) -> None:
    history = History(home)
    for update in ("u1", "u2", "u3"):
        for event in ("requested", "staged", "committed", "pruned"):
            history.append(update, event, "x" * 100)
    found = history.of("u2")
    assert [e.event for e in found] == ["requested", "staged", "committed", "pruned"]
    assert {e.update for e in found} == {"u2"}


def test_several_processes_append_at_once_and_no_line_is_lost(home: Home) -> None:
    """Each closes files that the others have open."""
    code = (
        "import sys; from pathlib import Path; from surefoot.home import Home\n"
        "from surefoot.update import history as module\n"
        "module.FILE_BYTES, module.KEPT_FILES = 2000, 1000\n"
        "history = module.History(Home(Path(sys.argv[1])))\n"
        "for n in range(150): history.append(sys.argv[2], f'e{n}')\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(home.root), name]) for name in "abc"
    ]
    history, seen, offset = History(home), 0, 0
    while any(process.poll() is None for process in running):
        for _, behind in history.follow(offset):
            seen, offset = seen + 1, max(offset, behind)
    assert [process.returncode for process in running] == [0, 0, 0]
    seen += sum(1 for _ in history.read(offset))
    assert seen == 450
    for name in "abc":
        assert [e.event for e in history.read() if e.update == name] == [
            f"e{n}" for n in range(150)
        ]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("at", ["rename", "after"])
def test_a_kill_while_a_file_is_closed_loses_nothing(home: Home, at: str) -> None:
    code = (
        "import os, sys; from pathlib import Path; from surefoot.home import Home\n"
        "from surefoot.update import history as module\n"
        "module.FILE_BYTES = 1000\n"
        "rename = Path.rename\n"
        "def struck(self, target):\n"
        f"    {at == 'after'} and rename(self, target)\n"
        "    os.kill(os.getpid(), 9)\n"
        "Path.rename = struck\n"
        "history = module.History(Home(Path(sys.argv[1])))\n"
        "for n in range(100): history.append('u1', f'e{n}', lasting=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home.root)], check=False)
    assert done.returncode == -9
    history = History(home)
    before = names(history)
    assert before == [f"e{n}" for n in range(len(before))]
    assert len(before) > 5
    end = history.size()
    history.append("u1", "next")
    assert [e.event for e in history.read(end)] == ["next"]
    assert names(history) == [*before, "next"]


def test_a_line_of_any_length_is_passed_over_without_being_held(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    with home.history.open("ab") as file:
        file.truncate(file.tell() + 400_000_000)  # a hole: it costs no disk
        file.seek(0, 2)
        file.write(b"\n")
    history.append("u1", "staged")
    code = (
        "import resource, sys; from pathlib import Path; from surefoot.home import Home\n"
        "from surefoot.update.history import History\n"
        "resource.setrlimit(resource.RLIMIT_AS, (350_000_000,) * 2)\n"
        "history = History(Home(Path(sys.argv[1])))\n"
        "history.append_once('u1', 'staged')\n"
        "print(next(history.newest()).event, [e.event for e in history.of('u2')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home.root)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["staged", "[]"], done.stderr


def test_what_is_too_long_is_cut_and_can_be_read(home: Home) -> None:
    history = History(home)
    history.append("u1", "abandoned", "x" * 300_000, output="y" * 900_000 + "the end", to="b")
    [event] = history.read()
    assert event.facts["output"].endswith("the end")
    assert event.facts["to"] == "b"
    assert list(history.newest()) == [event]


def test_rubbish_in_the_history_is_skipped(home: Home) -> None:
    history = History(home)
    history.append("u1", "requested")
    with home.history.open("ab") as file:
        file.write(b"\xff\xfe\nnull\n{}\n[1]\n\n")
    history.append("u1", "staged")
    assert names(history) == ["requested", "staged"]
    assert [e.event for e in history.newest()] == ["staged", "requested"]


@pytest.fixture
def unread() -> Iterator[int]:
    """The write end of a pipe whose reader has stopped reading."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while select.select([], [writing], [], 0)[1]:
        os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)


def test_whoever_does_not_read_the_log_is_not_waited_for(home: Home, unread: int) -> None:
    with os.fdopen(unread, "w") as stream:
        history = History(home, echo=stream)
        teller = threading.Thread(target=history.append, args=("u1", "staged", "Ready."))
        teller.daemon = True
        teller.start()
        teller.join(60)
        assert not teller.is_alive()
    assert names(history) == ["staged"]
