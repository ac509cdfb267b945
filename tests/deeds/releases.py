"""What is done to make a release."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.deeds.files import CONFIGURATION
from tests.releases import wheels
from tests.releases.remote import Remote

from surefoot import config, durable
from surefoot.config import Build
from surefoot.home import Home
from surefoot.releases import environment, kept
from surefoot.releases.dependencies import Dependencies
from surefoot.releases.git import Candidate, GitSource
from surefoot.releases.ledger import Ledger
from surefoot.releases.store import MARKER, Release, Store
from surefoot.update.databases import Databases
from surefoot.update.lock import Update
from surefoot.update.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMIT = "0123456789ab" + 28 * "0"


def seed_a_folder(root: Path) -> None:
    _shipped(root, "code/uploads/a/file")
    kept.link(root / "code", Home(root), ["uploads/"], first=True)
    durable.sync_tree(root / "code")


def seed_a_file(root: Path) -> None:
    _shipped(root, "code/settings.ini")
    kept.link(root / "code", Home(root), ["settings.ini"], first=True)
    durable.sync_tree(root / "code")


def seed_a_folder_elsewhere(root: Path) -> None:
    with _file_systems_apart():
        seed_a_folder(root)


def seed_a_file_elsewhere(root: Path) -> None:
    with _file_systems_apart():
        seed_a_file(root)


def fetch_anew(root: Path) -> None:
    remote = Remote(root.parent / "remote")
    commit = remote.commit({"app.py": "x = 1"})
    GitSource(Home(root).mirror, remote.source()).fetch(
        Candidate("main", commit, None), lambda _: None
    )


def build_an_environment(root: Path) -> None:
    code = root.parent / "code"
    code.mkdir()
    plan = environment.plan(code, Build(dependencies="none"))
    environment.build(plan, Home(root).environments, lambda _: None)


def build_an_environment_with_a_cache(root: Path) -> None:
    """Where the user has no folder for one."""
    code, found = root.parent / "code", root.parent / "wheels"
    code.mkdir()
    digest = wheels.make(found, "alpha", "1.0")
    (code / "requirements.txt").write_text(f"alpha==1.0 --hash=sha256:{digest}\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
            patch.delenv(name, raising=False)
        patch.setenv("PIP_FIND_LINKS", str(found))
        patch.setenv("PIP_NO_INDEX", "1")
        environment.build(environment.plan(code, Build()), Home(root).environments, lambda _: None)
    assert (Home(root).environments / ".cache").is_dir()


def find_an_environment(root: Path) -> None:
    made = _environment(root)
    nothing = Dependencies("none", None, "", is_local=False, has_hashes=False)
    plan = environment.Plan(made.name, Path("python"), "3.12", "none", None, nothing, Build())
    assert environment.build(plan, made.parent, lambda _: None) == made


def finish_a_release(root: Path) -> None:
    store = Store(Home(root))
    folder = store.staging(COMMIT[:12])
    (folder / "app").mkdir()
    (folder / "app" / "app.py").write_text("x = 1")
    release = Release(
        id=folder.name, ref="main", commit=COMMIT, environment="e", created_at=datetime.now(UTC)
    )
    store.finish(release)


def find_a_release(root: Path) -> None:
    home = Home(root)
    _environment(root)
    finish_a_release(root)
    folder = home.releases / COMMIT[:12]
    _as_by_a_killed_engine(folder / MARKER)
    staging = Staging(
        home,
        parsed := config.parse(CONFIGURATION),
        store := Store(home),
        Databases(home, parsed, store, lambda *_: None),
        Ledger.load(home.ledger, now=datetime.now(UTC)),
        lambda *_, **__: None,
        lambda _: None,
    )
    assert staging._whole(Update(id="u1", to=folder.name, commit=COMMIT))


def _shipped(root: Path, name: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True)
    file.write_text("of the release")
    durable.sync_folder(root)


def _environment(root: Path) -> Path:
    """A whole one, by an engine that was killed at the end of it."""
    made = Home(root).environments / "e"
    facts = environment.Facts(
        key=made.name,
        kind="none",
        python="python",
        python_version="3.12",
        made_at=datetime.now(UTC),
    )
    durable.make_folder(made / "bin")
    (made / "bin" / "python").symlink_to("/bin/true")
    durable.sync_folder(made / "bin")
    durable.write(made / environment.MARKER, msgspec.json.encode(facts))
    _as_by_a_killed_engine(made / environment.MARKER)
    _as_by_a_killed_engine(made)
    return made


def _as_by_a_killed_engine(path: Path) -> None:
    """It has its name, and nobody has flushed that."""
    path.rename(path.with_name(".new")).rename(path)


@contextmanager
def _file_systems_apart() -> Iterator[None]:
    """A rename is refused there, as it is between two file systems."""
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent and "code" in self.parts:
            raise OSError("Invalid cross-device link")
        return rename(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        yield


DEEDS: list[Callable[[Path], None]] = [
    *(seed_a_folder, seed_a_file, seed_a_folder_elsewhere, seed_a_file_elsewhere, fetch_anew),
    *(build_an_environment, build_an_environment_with_a_cache, find_an_environment),
    *(finish_a_release, find_a_release),
]
