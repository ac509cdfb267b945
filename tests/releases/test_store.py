from __future__ import annotations

import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tests.releases import programs

from surefoot.errors import DamagedError, RefusedError, StageError
from surefoot.releases import Ledger, Release, Store, prune

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.home import Home

START = datetime(2030, 1, 1, tzinfo=UTC)
KEPT = ["data", "logs", "temp", "sessions", ".env"]


def identity(number: int) -> str:
    return f"{number:012x}"


def make(store: Store, number: int, *, environment: str = "shared", version: str = "") -> str:
    """Makes a whole release."""
    release = identity(number)
    folder = store.staging(release)
    (folder / "app").mkdir()
    (folder / "app/main.py").write_text(f"{number}\n")
    (store.home.environments / environment).mkdir(parents=True, exist_ok=True)
    store.link_environment(release, environment)
    store.finish(
        Release(
            id=release, ref="main", commit=release + "f" * 28, environment=environment,
            created_at=START + timedelta(minutes=number), version=version or None,
        )
    )  # fmt: skip
    return release


@pytest.fixture
def store(home: Home) -> Store:
    return Store(home)


class TestStore:
    def test_a_release_is_there_only_when_it_is_finished(self, store: Store) -> None:
        folder = store.staging(identity(1))
        (folder / "app").mkdir()
        assert store.get(identity(1)) is None
        assert store.all() == []
        (folder / "rubbish").write_text("")
        store.staging(identity(1))
        assert not (folder / "rubbish").exists()
        make(store, 1)
        found = store.get(identity(1))
        assert found is not None
        assert store.all() == [found]
        assert (folder / "venv").resolve() == store.home.environments / "shared"

    def test_a_whole_release_is_never_made_over(self, store: Store) -> None:
        release = make(store, 1)
        with pytest.raises(RefusedError, match="never made over"):
            store.staging(release)
        assert (store.code(release) / "main.py").exists()
        store.switch(release)
        with pytest.raises(RefusedError, match="in use"):
            store.discard(release)

    @pytest.mark.parametrize("content", [b"", b'{"schema":1', b'{"schema":9}', b"\xff"])
    def test_a_damaged_release_counts_as_unfinished(self, store: Store, content: bytes) -> None:
        release = make(store, 1)
        (store.folder(release) / "release.json").write_bytes(content)
        assert store.all() == []
        with pytest.raises(DamagedError):
            store.get(release)
        store.staging(release)

    @pytest.mark.parametrize("name", ["../data", "", "main", "/"])
    def test_only_an_id_names_a_release(self, store: Store, name: str) -> None:
        with pytest.raises(RefusedError):
            store.get(name)

    def test_switching_is_one_rename_of_a_relative_link(self, store: Store) -> None:
        first, second = make(store, 1), make(store, 2)
        assert store.current_id() is None
        store.switch(first)
        store.switch(second)
        assert store.current_id() == second
        assert os.readlink(store.home.current) == f"releases/{second}"  # noqa: PTH115
        with pytest.raises(DamagedError, match="nothing was switched"):
            store.switch(identity(3))
        assert store.current_id() == second
        store.switch(None)
        assert store.current_id() is None

    def test_a_dangling_current_is_no_release(self, store: Store) -> None:
        store.home.current.symlink_to(f"releases/{identity(7)}")
        assert store.current_id() is None

    def test_a_release_is_found_by_what_people_call_it(self, store: Store) -> None:
        first = make(store, 0xABCDEF, version="1.0")
        second = make(store, 0xABCDEF01, version="1.1")
        named = {name: store.find(name) for name in ("1.0", first, "00000000abcdef01", "main")}
        assert named["1.0"] == store.get(first)
        assert named[first] == store.get(first)
        assert store.find(second[:8]) == store.get(second)
        assert named["main"] == store.get(second)
        assert store.find("000") is None
        assert store.find("0000") is None


class TestKept:
    def linked(self, store: Store, files: dict[str, str], paths: list[str] | None = None) -> Path:
        store.staging(identity(1))
        code = store.code(identity(1))
        for name, content in files.items():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            (code / name).write_text(content)
        code.mkdir(exist_ok=True)
        store.link_kept(identity(1), paths or KEPT)
        return code

    def test_what_the_app_writes_lies_in_the_home(self, store: Store) -> None:
        code = self.linked(store, {})
        for name in ("data", "logs", "temp", "sessions"):
            (code / name / "x").write_text(name)
            assert (store.home.root / name / "x").read_text() == name
        (code / ".env").write_text("A=1")
        assert (store.home.root / ".env").read_text() == "A=1"
        assert os.readlink(code / "data") == "../../../data"  # noqa: PTH115

    def test_what_the_user_has_is_never_overwritten(self, store: Store) -> None:
        store.switch(make(store, 9))
        (store.home.root / ".env").write_text("mine")
        (store.home.data / "app.db").write_text("mine")
        code = self.linked(
            store, {".env": "theirs", "data/app.db": "theirs", "data/new": "theirs", "logs": "file"}
        )
        assert (code / ".env").read_text() == "mine"
        assert (code / "data/app.db").read_text() == "mine"
        assert not (store.home.data / "new").exists()

    def test_before_the_first_release_what_is_shipped_seeds_the_home(self, store: Store) -> None:
        store.home.lock.write_text("{}")
        (store.home.data / "app.db").write_text("mine")
        code = self.linked(
            store, {"data/app.db": "x", "data/sub/seed": "[]", ".env": "A=1", "uploads/a": "a"},
            [*KEPT, "uploads"],
        )  # fmt: skip
        assert (store.home.data / "app.db").read_text() == "mine"
        assert (store.home.data / "sub/seed").read_text() == "[]"
        assert (store.home.root / ".env").read_text() == "A=1"
        assert (store.home.root / "uploads/a").read_text() == "a"
        assert (code / "uploads").is_symlink()
        self.linked(store, {"uploads/a": "b"}, [*KEPT, "uploads"])
        assert (store.home.root / "uploads/a").read_text() == "a"

    def test_a_path_newly_kept_is_seeded_later_too(self, store: Store) -> None:
        store.switch(make(store, 9))
        self.linked(store, {"instance/app.db": "seed"}, [*KEPT, "instance/app.db"])
        assert (store.home.root / "instance/app.db").read_text() == "seed"

    def test_paths_inside_of_kept_ones_are_no_trouble(self, store: Store) -> None:
        code = self.linked(store, {"data/uploads/a": "a"}, ["data/uploads", "data"])
        assert (code / "data/uploads/a").read_text() == "a"
        assert (store.home.data / "uploads").is_dir()
        assert not (store.home.data / "uploads").is_symlink()

    def test_a_users_folder_elsewhere_serves(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "large").mkdir()
        (store.home.root / "logs").symlink_to(tmp_path / "large")
        code = self.linked(store, {"logs/.gitkeep": ""})
        (code / "logs/x").write_text("x")
        assert (tmp_path / "large/x").exists()

    def test_a_symlink_in_the_way_is_refused(self, store: Store) -> None:
        store.staging(identity(1))
        code = store.code(identity(1))
        (code / "real").mkdir(parents=True)
        (code / "static").symlink_to("real")
        with pytest.raises(StageError, match="symlink"):
            store.link_kept(identity(1), ["static/uploads"])


class TestPrune:
    def committed(self, store: Store, numbers: list[int]) -> Ledger:
        ledger = Ledger.load(store.home.ledger, now=START)
        for number in numbers:
            ledger.record_commit(make(store, number, environment=f"env{number}"), START)
        store.switch(identity(numbers[-1]))
        return ledger

    def test_the_last_committed_stay_with_their_environments(self, store: Store) -> None:
        ledger = self.committed(store, [1, 2, 3, 4])
        make(store, 5, environment="env5")
        gone = prune(store, ledger, keep=2)
        assert {path.name for path in gone} == {
            identity(1), identity(2), identity(5), "env1", "env2", "env5",
        }  # fmt: skip
        assert [release.id for release in store.all()] == [identity(3), identity(4)]
        assert sorted(os.listdir(store.home.environments)) == ["env3", "env4"]  # noqa: PTH208

    def test_the_release_in_use_and_the_one_before_it_stay(self, store: Store) -> None:
        ledger = self.committed(store, [1, 2, 3, 4])
        store.switch(identity(1))
        ledger.deny(identity(3), "bad", START)
        ledger.deny(identity(4), "bad", START)
        prune(store, ledger, keep=1)
        assert store.current_id() == identity(1)
        assert store.is_whole(identity(2))

    def test_what_an_update_in_flight_names_stays(self, store: Store) -> None:
        ledger = self.committed(store, [1, 2, 3])
        (store.staging(identity(8)) / "app").mkdir()
        (store.home.environments / "half").mkdir()
        prune(store, ledger, keep=2, in_use=[identity(8), identity(1), "half"])
        assert store.folder(identity(8)).is_dir()
        assert store.is_whole(identity(1))
        assert (store.home.environments / "env1").is_dir()
        assert (store.home.environments / "half").is_dir()

    def test_left_overs_go(self, store: Store) -> None:
        ledger = self.committed(store, [1, 2])
        for left in (store.home.releases / f".{identity(3)}.gone", store.home.environments / "x",
                     store.home.releases / identity(4)):  # fmt: skip
            (left / "inside").mkdir(parents=True)
        assert len(prune(store, ledger, keep=3)) == 3
        assert prune(store, ledger, keep=3) == []
        assert store.home.ledger.exists()

    def test_a_lost_ledger_does_not_cost_the_release_to_go_back_to(self, store: Store) -> None:
        self.committed(store, [1, 2, 3])
        store.home.ledger.write_text("{")
        prune(store, Ledger.load(store.home.ledger, now=START), keep=2)
        assert [release.id for release in store.all()] == [identity(2), identity(3)]

    def test_the_users_data_survives_the_release_it_was_linked_into(self, store: Store) -> None:
        ledger = self.committed(store, [2, 3])
        (store.home.data / "app.db").write_text("mine")
        (store.staging(identity(9)) / "app").mkdir()
        store.link_kept(identity(9), KEPT)
        prune(store, ledger, keep=2)
        assert not store.folder(identity(9)).exists()
        assert (store.home.data / "app.db").read_text() == "mine"


def test_an_orphaned_build_is_ended_before_its_release_is_made_anew(
    store: Store, tmp_path: Path
) -> None:
    folder = store.staging(identity(1))
    loop = f"echo $$ > {tmp_path}/pid; mkdir {folder}/begun; exec sleep 100"
    subprocess.run(
        ["sh", "-c", f"exec 9>{store.home.releases}/.building; flock 9; setsid sh -c '{loop}' & :"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (folder / "begun").exists():
        time.sleep(0.01)
    folder = store.staging(identity(1))
    assert programs.ends(int((tmp_path / "pid").read_text()), within_s=50)
    assert list(folder.iterdir()) == []
