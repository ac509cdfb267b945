from __future__ import annotations

import os
import socket
import subprocess
import threading
import zlib
from typing import TYPE_CHECKING

import pytest
from tests.releases import programs
from tests.releases.remote import Remote

from surefoot.config import Source
from surefoot.errors import SourceError, StageError
from surefoot.releases import GitSource
from surefoot.releases.command import TooMuchError

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.home import Home


def silent(_line: str) -> None:
    pass


def fetched(home: Home, remote: Remote, ref: str | None = None, **settings: object) -> Path:
    """Resolves, fetches and exports; returns the exported folder."""
    source = GitSource(home.mirror, remote.source(**settings))
    candidate = source.resolve(ref)
    source.fetch(candidate, silent)
    folder = home.root / "exported" / candidate.ref / candidate.commit
    source.export(candidate.commit, folder)
    return folder


class TestResolve:
    def test_without_anything_said_the_remotes_default_branch_is_followed(
        self, home: Home, remote: Remote
    ) -> None:
        commit = remote.commit({"a": "1"})
        candidate = GitSource(home.mirror, remote.source()).resolve(None)
        assert (candidate.ref, candidate.commit, candidate.version) == ("main", commit, None)
        assert not home.mirror.exists()

    def test_the_configured_branch_is_followed_and_its_version_is_the_tags(
        self, home: Home, remote: Remote
    ) -> None:
        remote.commit({"a": "1"})
        remote.git("checkout", "--quiet", "-b", "stable")
        commit = remote.commit({"a": "2"})
        remote.tag("v1.9", annotated=True)
        remote.git("checkout", "--quiet", "main")
        candidate = GitSource(home.mirror, remote.source(branch="stable")).resolve(None)
        assert (candidate.ref, candidate.commit, candidate.version) == ("stable", commit, "1.9")

    def test_the_newest_tag_is_the_one_with_the_highest_version_not_the_last_name(
        self, home: Home, remote: Remote
    ) -> None:
        commits = {}
        for name in ("v1.2", "v1.10", "v1.9", "w9", "v2.0rc1", "vnext"):
            commits[name] = remote.commit({"a": name})
            remote.tag(name, annotated=name == "v1.10")
        candidate = GitSource(home.mirror, remote.source(tags="v*")).resolve(None)
        assert (candidate.ref, candidate.commit) == ("v1.10", commits["v1.10"])
        assert candidate.version == "1.10"

    def test_an_abbreviated_commit_is_found(self, home: Home, remote: Remote) -> None:
        first = remote.commit({"a": "1"})
        remote.commit({"a": "2"})
        assert GitSource(home.mirror, remote.source()).resolve(first[:8]).commit == first

    def test_an_unknown_ref_names_itself_the_remote_and_what_is_near(
        self, home: Home, remote: Remote
    ) -> None:
        remote.commit({"a": "1"})
        remote.tag("v1.2.3")
        with pytest.raises(SourceError, match=r"'v1\.2\.4' at .*Did you mean v1\.2\.3") as raised:
            GitSource(home.mirror, remote.source()).resolve("v1.2.4")
        assert str(remote.folder) in raised.value.message

    @pytest.mark.parametrize("settings", [{"branch": "gone"}, {"tags": "v*"}])
    def test_a_followed_ref_that_is_not_there_is_refused(
        self, home: Home, remote: Remote, settings: dict[str, str]
    ) -> None:
        remote.commit({"a": "1"})
        with pytest.raises(SourceError, match=r"gone|v\*"):
            GitSource(home.mirror, remote.source(**settings)).resolve(None)

    def test_a_repository_without_commits_is_refused(self, home: Home, remote: Remote) -> None:
        with pytest.raises(SourceError, match="no commit yet"):
            GitSource(home.mirror, remote.source()).resolve(None)

    def test_an_unreachable_remote_is_told_without_its_password(self, home: Home) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            address = f"http://bob:s3cret%40x@127.0.0.1:{closed.getsockname()[1]}/app.git"
        with pytest.raises(SourceError) as raised:
            GitSource(home.mirror, Source(git=address, timeout_s=60)).resolve(None)
        told = str(raised.value) + raised.value.output
        assert "unable to access" in told
        assert "s3cret" not in told
        assert "bob" not in told

    def test_a_remote_that_never_answers_is_given_up(self, home: Home) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}/app.git"
            with pytest.raises(SourceError, match="did not end within 1 seconds"):
                GitSource(home.mirror, Source(git=address, timeout_s=1)).resolve(None)

    def test_a_transport_that_runs_programs_is_refused(self, home: Home, tmp_path: Path) -> None:
        address = f"ext::sh -c 'touch {tmp_path}/ran'"
        with pytest.raises(SourceError, match="not allowed"):
            GitSource(home.mirror, Source(git=address, timeout_s=60)).resolve(None)
        assert not (tmp_path / "ran").exists()

    def test_a_path_is_relative_to_the_home_and_file_addresses_work(
        self, home: Home, remote: Remote
    ) -> None:
        commit = remote.commit({"a": "1"})
        for address in ("../remote", f"file://{remote.folder}"):
            source = GitSource(home.mirror, remote.source(git=address))
            assert source.resolve(None).commit == commit

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_a_local_source_may_belong_to_another_user(self, home: Home, remote: Remote) -> None:
        commit = remote.commit({"a": "1"})
        for path in [remote.folder, *remote.folder.rglob("*")]:
            os.lchown(path, 65534, 65534)
        assert fetched(home, remote).name == commit


class TestFetch:
    def test_a_second_fetch_transfers_only_what_is_new(self, home: Home, remote: Remote) -> None:
        remote.commit({f"file{n}": os.urandom(512).hex() for n in range(50)})
        fetched(home, remote)
        packs = set((home.mirror / "objects/pack").glob("*.pack"))
        remote.commit({"a": "1"})
        fetched(home, remote)
        new = set((home.mirror / "objects/pack").glob("*.pack")) - packs
        assert sum(pack.stat().st_size for pack in new) < 2000

    def test_nothing_new_asks_nobody(self, home: Home, remote: Remote) -> None:
        remote.commit({"a": "1"})
        source = GitSource(home.mirror, remote.source())
        candidate = source.resolve(None)
        source.fetch(candidate, silent)
        remote.folder.rename(remote.folder.with_name("away"))
        source.fetch(candidate, silent)

    def test_a_tag_that_is_no_descendant_is_fetched(self, home: Home, remote: Remote) -> None:
        remote.commit({"a": "1"})
        remote.tag("v1")
        fetched(home, remote, "v1")
        remote.git("checkout", "--quiet", "--orphan", "other")
        remote.commit({"a": "2"})
        remote.tag("v2", annotated=True)
        assert (fetched(home, remote, "v2") / "a").read_text() == "2"

    def test_a_moved_tag_and_a_force_pushed_branch_are_followed(
        self, home: Home, remote: Remote
    ) -> None:
        remote.commit({"a": "1"})
        remote.tag("v1")
        fetched(home, remote, "v1")
        remote.git("commit", "--quiet", "--amend", "-m", "other")
        remote.commit({"a": "2"})
        remote.git("tag", "--force", "v1")
        assert (fetched(home, remote, "v1") / "a").read_text() == "2"
        assert (fetched(home, remote, "main") / "a").read_text() == "2"

    def test_a_branch_may_become_a_folder_of_branches(self, home: Home, remote: Remote) -> None:
        remote.commit({"a": "1"})
        remote.git("branch", "topic")
        fetched(home, remote)
        remote.git("branch", "-D", "topic")
        remote.git("checkout", "--quiet", "-b", "topic/one")
        remote.commit({"a": "2"})
        assert (fetched(home, remote, "topic/one") / "a").read_text() == "2"

    def test_a_commit_that_nothing_points_to_any_more_is_fetched_by_its_id(
        self, home: Home, remote: Remote
    ) -> None:
        remote.commit({"a": "1"})
        fetched(home, remote)
        lost = remote.commit({"a": "2"})
        remote.git("reset", "--quiet", "--hard", "HEAD~1")
        assert (fetched(home, remote, lost) / "a").read_text() == "2"

    def test_a_commit_that_does_not_exist_is_refused(self, home: Home, remote: Remote) -> None:
        remote.commit({"a": "1"})
        with pytest.raises(SourceError, match="no tag, branch or commit"):
            fetched(home, remote, "0123456789" * 4)

    def test_locks_and_half_packs_of_a_killed_git_are_cleared(
        self, home: Home, remote: Remote
    ) -> None:
        remote.commit({"a": "1"})
        fetched(home, remote)
        remote.commit({"a": "2"})
        left = [
            home.mirror / name
            for name in ("packed-refs.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x")
        ]
        for path in left:
            path.write_text("")
        assert (fetched(home, remote) / "a").read_text() == "2"
        assert not any(path.exists() for path in left)

    def test_a_mirror_half_made_is_made_again(self, home: Home, remote: Remote) -> None:
        remote.commit({"a": "1"})
        beside = home.mirror.with_name(".source.git.new")
        beside.mkdir()
        (beside / "HEAD").write_text("ref: refs/heads/main\n")
        home.mirror.mkdir()
        assert (fetched(home, remote) / "a").read_text() == "1"
        assert not beside.exists()

    def test_a_damaged_mirror_is_fetched_anew(self, home: Home, remote: Remote) -> None:
        remote.commit({"a": "1" * 3000})
        fetched(home, remote)
        for pack in (home.mirror / "objects/pack").glob("*.pack"):
            pack.chmod(0o644)
            pack.write_bytes(pack.read_bytes()[:20] + b"rubbish")
        remote.commit({"a": "2"})
        assert (fetched(home, remote) / "a").read_text() == "2"

    @pytest.mark.parametrize("damage", ["missing", "altered"])
    def test_damage_that_shows_only_while_exporting_is_mended(
        self, home: Home, remote: Remote, damage: str
    ) -> None:
        commit = remote.commit({"a": os.urandom(3000).hex()})
        source = GitSource(home.mirror, remote.source())
        candidate = source.resolve(None)
        source.fetch(candidate, silent)
        blob = remote.git("rev-parse", "HEAD:a")
        subprocess.run(
            ["sh", "-c", "mv objects/pack pack && cat pack/*.pack | git unpack-objects -q"],
            cwd=home.mirror, env={"PATH": os.environ["PATH"], "GIT_DIR": "."}, check=True,
        )  # fmt: skip
        loose = home.mirror / "objects" / blob[:2] / blob[2:]
        loose.unlink()
        if damage == "altered":
            loose.write_bytes(zlib.compress(b"blob 6000\0" + b"x" * 6000))
        source.export(commit, home.root / "out")
        assert (home.root / "out/a").read_text() == (remote.folder / "a").read_text()

    def test_another_address_is_followed_with_the_same_mirror(
        self, home: Home, remote: Remote, tmp_path: Path
    ) -> None:
        remote.commit({"a": "1"})
        fetched(home, remote)
        other = Remote(tmp_path / "other")
        other.commit({"a": "other"})
        assert (fetched(home, other) / "a").read_text() == "other"

    def test_a_tag_under_another_name_is_refused(self, home: Home, remote: Remote) -> None:
        remote.commit({"a": "1"})
        remote.tag("v1.0", annotated=True)
        remote.git("update-ref", "refs/tags/v2.0", remote.git("rev-parse", "refs/tags/v1.0"))
        with pytest.raises(SourceError, match=r"serves the tag v1\.0 under the name v2\.0"):
            fetched(home, remote, "v2.0")

    def test_a_source_that_is_too_large_leaves_nothing(self, home: Home, remote: Remote) -> None:
        (remote.folder / "large").write_bytes(os.urandom(3 * 1024 * 1024))
        remote.commit()
        with pytest.raises(TooMuchError, match="larger than 1 MB"):
            fetched(home, remote, max_size_mb=1)
        assert not home.mirror.exists()
        assert not home.mirror.with_name(".source.git.new").exists()

    def test_what_unpacks_to_too_much_is_refused(self, home: Home, remote: Remote) -> None:
        (remote.folder / "bomb").write_bytes(bytes(3 * 1024 * 1024))
        remote.commit()
        with pytest.raises(StageError, match="3 MB, more than"):
            fetched(home, remote, max_size_mb=1)

    def test_the_users_git_configuration_is_not_read(
        self, home: Home, remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        commit = remote.commit({"a": "1"})
        (tmp_path / ".gitconfig").write_text('[url "/nowhere"]\n\tinsteadOf = /\n')
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("GIT_DIR", str(tmp_path))
        assert fetched(home, remote).name == commit

    def test_a_git_that_a_killed_engine_left_behind_is_ended(
        self, home: Home, remote: Remote
    ) -> None:
        remote.commit({"a": "1"})
        fetched(home, remote)
        lock = home.mirror.with_name(".source.git.lock")
        # An engine that holds the lock, whose child inherits it, dies.
        engine = subprocess.run(
            ["sh", "-c", f"exec 9>{lock}; flock 9; setsid sleep 100 >/dev/null 2>&1 & echo $!"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        orphan = int(engine.stdout)
        remote.commit({"a": "2"})
        assert (fetched(home, remote) / "a").read_text() == "2"
        assert programs.ends(orphan, within_s=50)

    def test_somebody_who_still_works_on_the_mirror_is_waited_for(
        self, home: Home, remote: Remote
    ) -> None:
        remote.commit({"a": "1"})
        lock = home.mirror.with_name(".source.git.lock")
        with subprocess.Popen(["flock", lock, "sh", "-c", "echo; read x"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # fmt: skip
            assert other.stdout is not None
            other.stdout.readline()
            worker = threading.Thread(target=fetched, args=(home, remote))
            worker.start()
            worker.join(0.5)
            assert not home.mirror.exists()
            assert other.poll() is None
            other.communicate(b"\n")
            assert other.returncode == 0
            worker.join(60)
        assert home.mirror.exists()


class TestExport:
    def test_bytes_modes_and_symlinks_are_the_commits(self, home: Home, remote: Remote) -> None:
        (remote.folder / ".gitattributes").write_text(
            "*.txt text eol=crlf\n*.bin filter=lfs\nsecret export-ignore\n*.id ident\n"
        )
        for name, content in {
            "a.txt": b"one\ntwo\n", "b.bin": bytes(range(256)), "secret": b"", "c.id": b"$Id$\n",
            "sub/d\xe9\n": b"name", "empty": b"",
        }.items():  # fmt: skip
            (remote.folder / name).parent.mkdir(exist_ok=True)
            (remote.folder / name).write_bytes(content)
        (remote.folder / "run").write_text("#!/bin/sh\n")
        (remote.folder / "run").chmod(0o755)
        (remote.folder / "link").symlink_to("sub/../a.txt")
        (remote.folder / "dangling").symlink_to("data/later")
        remote.commit()
        out = fetched(home, remote)
        for path in remote.folder.rglob("*"):
            inside = path.relative_to(remote.folder)
            if inside.parts[0] == ".git":
                continue
            copy = out / inside
            assert path.is_symlink() == copy.is_symlink()
            if path.is_symlink():
                assert path.readlink() == copy.readlink()
            elif path.is_file():
                assert path.read_bytes() == copy.read_bytes()
                assert os.access(copy, os.X_OK) == (path.name == "run")
        assert not (out / ".git").exists()

    @pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "sub/../../x"])
    def test_a_symlink_that_leads_out_is_refused(
        self, home: Home, remote: Remote, target: str
    ) -> None:
        (remote.folder / "link").symlink_to(target)
        remote.commit()
        with pytest.raises(StageError, match="leads out of the release"):
            fetched(home, remote)

    def test_symlinks_that_lead_out_together_are_refused(self, home: Home, remote: Remote) -> None:
        (remote.folder / "a/b").mkdir(parents=True)
        (remote.folder / "a/b/up").symlink_to("../..")
        (remote.folder / "out").symlink_to("a/b/up/../x")
        remote.commit()
        with pytest.raises(StageError, match="leads out of the release"):
            fetched(home, remote)

    def test_a_symlink_and_a_folder_of_one_name_are_refused(
        self, home: Home, remote: Remote, tmp_path: Path
    ) -> None:
        remote.commit({"d/file": "x"})
        tree = remote.git("rev-parse", "HEAD:d")
        (remote.folder / "target").write_text(".")
        blob = remote.git("hash-object", "-w", "target")
        listing = tmp_path / "listing"
        listing.write_text(f"120000 blob {blob}\td\n040000 tree {tree}\td\n")
        made = subprocess.run(
            ["sh", "-c", f"git mktree < {listing}"],
            cwd=remote.folder, capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        remote.git("update-ref", "refs/heads/main", remote.git("commit-tree", "-m", "x", made))
        with pytest.raises(StageError, match="cannot be written"):
            fetched(home, remote)

    def test_submodules_are_refused_unless_asked_for(
        self, home: Home, remote: Remote, tmp_path: Path
    ) -> None:
        library = Remote(tmp_path / "library")
        library.commit({"lib.py": "x = 1\n"})
        remote.commit({"a": "1"})
        remote.git("submodule", "--quiet", "add", "../library", "vendor/library")
        remote.git("config", "-f", ".gitmodules", "submodule.vendor/library.url", "../library")
        remote.commit()
        with pytest.raises(StageError, match="vendor/library"):
            fetched(home, remote)
        out = fetched(home, remote, submodules=True)
        assert (out / "vendor/library/lib.py").read_text() == "x = 1\n"
        library.commit({"lib.py": "x = 2\n"})
        remote.git("-C", "vendor/library", "pull", "--quiet", "origin", "main")
        remote.commit()
        out = fetched(home, remote, submodules=True)
        assert (out / "vendor/library/lib.py").read_text() == "x = 2\n"


class TestChanges:
    def test_changes_are_what_is_new_newest_first(self, home: Home, remote: Remote) -> None:
        old = remote.commit({"a": "1"}, "First")
        remote.commit({"a": "2"}, "Second")
        new = remote.commit({"a": "3"}, "Third \x1b[31mred")
        fetched(home, remote)
        source = GitSource(home.mirror, remote.source())
        changes = source.changes(old, new)
        assert [change.subject for change in changes] == ["Third  [31mred", "Second"]
        assert (changes[0].commit, changes[0].author) == (new, "Ada")
        assert changes[0].at.tzinfo is not None
        assert len(source.changes(None, new)) == 3
        assert source.changes(new, old) == []
        assert source.changes("0" * 40, new) == []

    def test_at_most_fifty_are_told(self, home: Home, remote: Remote) -> None:
        for number in range(52):
            new = remote.commit(subject=str(number))
        fetched(home, remote)
        assert len(GitSource(home.mirror, remote.source()).changes(None, new)) == 50
