from pathlib import Path

import pytest

from surefoot.errors import NotRunningError, RefusedError
from surefoot.home import Home
from surefoot.update import requests
from surefoot.update.requests import Request


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "run").mkdir()
    return Home(tmp_path)


def test_a_request_waits_until_it_is_withdrawn(home: Home) -> None:
    request = Request(ref="v1.1")
    requests.put(home, request)
    assert requests.waiting(home) == request
    requests.withdraw(home, request)
    assert requests.waiting(home) is None


def test_the_second_request_is_refused_and_leaves_nothing(home: Home) -> None:
    first = Request()
    requests.put(home, first)
    with pytest.raises(RefusedError):
        requests.put(home, Request())
    assert requests.waiting(home) == first
    assert [p.name for p in home.run.iterdir()] == ["request.json"]


def test_nobody_withdraws_the_request_of_another(home: Home) -> None:
    first = Request()
    requests.put(home, first)
    requests.withdraw(home, Request())
    assert requests.waiting(home) == first


def test_without_a_supervisor_there_is_nobody_to_ask(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        requests.put(Home(tmp_path), Request())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]"])
def test_rubbish_is_no_request(home: Home, content: bytes) -> None:
    home.request.write_bytes(content)
    assert requests.waiting(home) is None
    requests.withdraw(home, Request())
    requests.put(home, Request())
