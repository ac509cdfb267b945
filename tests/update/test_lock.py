from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surefoot.errors import DamagedError, RefusedError
from surefoot.home import Home
from surefoot.update.lock import Lock, Update, new_id, only_engine
from surefoot.update.states import State


@pytest.fixture
def home(tmp_path: Path) -> Home:
    (tmp_path / "data").mkdir()
    return Home(tmp_path)


def test_what_was_saved_is_read_back(home: Home) -> None:
    update = Update(id=new_id(), state=State.PROBATION, from_="a", to="b", attempts={"staged": 1})
    Lock(home).save(update)
    assert Lock(home).read() == update


def test_the_lock_names_its_state_so_that_a_shell_can_read_it(home: Home) -> None:
    Lock(home).save(Update(id="x", state=State.STAGED))
    assert '"state":"staged"' in home.lock.read_text()


def test_without_a_lock_nothing_is_in_flight(home: Home) -> None:
    assert Lock(home).read() is None
    Lock(home).forget()


def test_the_token_in_the_lock_is_for_its_owner_only(home: Home) -> None:
    Lock(home).save(Update(id="x", token="secret"))
    assert home.lock.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'{"id":"x"', b'{"id":1}', b"\xff\xfe", b"\0" * 4096,
     b'{"id":"x","state":"no such state"}', b'{"id":"x","schema":99}'],
)  # fmt: skip
def test_a_lock_that_cannot_be_read_is_never_guessed_at(home: Home, content: bytes) -> None:
    home.lock.write_bytes(content)
    with pytest.raises(DamagedError):
        Lock(home).read()
    aside = Lock(home).keep_aside()
    assert aside.read_bytes() == content
    assert Lock(home).read() is None


def test_a_folder_in_its_place_is_damage_as_well(home: Home) -> None:
    home.lock.mkdir()
    with pytest.raises(DamagedError):
        Lock(home).read()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_any_bytes_are_either_a_lock_or_damage(home: Home, noise: bytes, cut: int) -> None:
    Lock(home).save(Update(id="x", from_="a", to="b"))
    whole = home.lock.read_bytes()
    home.lock.write_bytes(whole[:cut] + noise)
    try:
        update = Lock(home).read()
    except DamagedError:
        return
    assert update is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_a_lock_of_which_one_byte_is_another_is_damage(home: Home, data: st.DataObject) -> None:
    Lock(home).save(Update(id="x", state=State.MIGRATED, from_="a", to="b", durations={"stop": 1}))
    whole = home.lock.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
    home.lock.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    with pytest.raises(DamagedError):
        Lock(home).read()


def test_two_engines_cannot_work_at_once(home: Home) -> None:
    with only_engine(home), pytest.raises(RefusedError), only_engine(home):
        pass
    with only_engine(home):
        pass
