"""The bare mirror of the git source: everything that was ever fetched, so that only news travels.

Rules:
- Full history, all branches and tags; what vanished or moved at the source does so here.
- A new mirror is made beside the old one and taken over by one rename.
- Whatever a killed git left behind is cleared under our own lock. A mirror that is damaged all the
  same is made anew.
- It belongs to whoever owns the home: git's own check of that does not apply to `--git-dir`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from surefoot import durable
from surefoot.errors import SourceError
from surefoot.releases import command
from surefoot.releases.git_command import Git, GitFailedError
from surefoot.releases.refs import HEADS, TAGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from surefoot.releases.command import Progress
    from surefoot.releases.refs import Candidate

_ALL_REFS = (f"+{HEADS}*:{HEADS}*", f"+{TAGS}*:{TAGS}*")
_FETCH = (
    "fetch", "--force", "--prune", "--no-tags", "--progress", "--no-auto-gc", "--update-shallow",
    "--no-recurse-submodules", "--no-write-fetch-head",
)  # fmt: skip
_KEPT_REFS = "refs/surefoot/"
_PACKS_BEFORE_REPACK = 40


class Mirror:
    """The mirror in `folder`. Whoever calls holds `lock`."""

    def __init__(self, folder: Path, *, address: str, timeout_s: float, max_size_mb: int) -> None:
        self.folder = folder
        self.git = Git(folder, address=address, timeout_s=timeout_s)
        self._max_size_mb = max_size_mb

    @contextlib.contextmanager
    def lock(self) -> Iterator[command.Guard]:
        """Nobody else changes the mirror meanwhile; what a killed engine left running is ended."""
        with command.exclusive(self.folder.with_name(f".{self.folder.name}.lock")) as guard:
            yield guard

    def has(self, commit: str) -> bool:
        """Whether this commit is here; `commit` may be abbreviated or an expression of git's."""
        return self.commit_id(commit) is not None

    def commit_id(self, name: str) -> str | None:
        """The whole id of what `name` means here, None where it means nothing."""
        if not self.folder.is_dir():
            return None
        try:
            said = self.git.run(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
            )
        except GitFailedError:
            return None
        return said.decode().strip()

    def update(self, guard: command.Guard, progress: Progress) -> None:
        """Fetches all that is new. A mirror that is missing or damaged is made anew."""
        self._clear_leftovers()
        if not self._is_repository():
            self.remake(guard, progress)
            return
        try:
            self._fetch(self.git, _ALL_REFS, guard, progress)
        except GitFailedError:
            if self._is_sound(guard):
                raise
            progress("The mirror of the source is damaged; it is fetched anew.")
            self.remake(guard, progress)
        self._repack(guard)

    def update_commit(self, commit: str, guard: command.Guard, progress: Progress) -> None:
        """Fetches one commit that no branch or tag of the source leads to."""
        self._fetch(self.git, (f"+{commit}:{_KEPT_REFS}{commit}",), guard, progress)

    def remake(self, guard: command.Guard, progress: Progress) -> None:
        """Fetches everything into a new mirror, which then takes the place of this one."""
        beside = self.folder.with_name(f".{self.folder.name}.new")
        durable.make_folder(self.folder.parent)
        durable.remove_tree(beside)
        git = Git(beside, address=self.git.address, timeout_s=self.git.timeout_s)
        try:
            git.run("init", "--quiet", "--bare", "--template=", str(beside), inside=False)
            self._fetch(git, _ALL_REFS, guard, progress)
        except BaseException:
            durable.remove_tree(beside)
            raise
        durable.sync_tree(beside)
        durable.remove_tree(self.folder)
        beside.rename(self.folder)
        durable.sync_folder(self.folder.parent)

    def check_owner(self) -> None:
        """Raises SourceError if the mirror is somebody else's, who could have changed it."""
        with contextlib.suppress(FileNotFoundError):
            owner = self.folder.lstat().st_uid
            if owner not in {os.geteuid(), self.folder.parent.stat().st_uid}:
                raise SourceError(
                    f"{self.folder} belongs to user {owner}, not to the owner of its home.",
                    next_step="Remove it; it will be fetched anew.",
                )

    def check_tag(self, candidate: Candidate) -> None:
        """Raises SourceError if the tag object says that it is another tag than it is served as."""
        full_name = TAGS + candidate.ref
        if self.commit_id(full_name) != candidate.commit:
            return
        if self.git.run("cat-file", "-t", full_name).strip() != b"tag":
            return
        header = self.git.run("cat-file", "tag", full_name).partition(b"\n\n")[0]
        for line in header.split(b"\n"):
            name = line.removeprefix(b"tag ").decode(errors="replace")
            if line.startswith(b"tag ") and name != candidate.ref:
                raise SourceError(
                    f"The source serves the tag {name} under the name {candidate.ref}; "
                    "nothing was changed.",
                    next_step="Ask whoever keeps the repository.",
                )

    def check_size(self) -> None:
        """Raises TooMuchError if the mirror is larger than it may be."""
        self._check_size(self.folder)

    def _fetch(
        self, git: Git, what: tuple[str, ...], guard: command.Guard, progress: Progress
    ) -> None:
        git.run(
            *_FETCH, "--end-of-options", git.address, *what,
            guard=guard, progress=progress, watch=lambda: self._check_size(git.folder),
        )  # fmt: skip
        self._check_size(git.folder)

    def _check_size(self, folder: Path) -> None:
        size = 0
        for pack in (folder / "objects" / "pack").glob("*"):
            with contextlib.suppress(FileNotFoundError):
                size += pack.stat().st_size
        if size > self._max_size_mb * 1024 * 1024:
            raise command.TooMuchError(
                f"The source is larger than {self._max_size_mb} MB; fetching it was ended.",
                next_step="Raise `max_size` in [source] if that is right.",
            )

    def _is_repository(self) -> bool:
        if not self.folder.is_dir():
            return False
        try:
            return self.git.run("rev-parse", "--is-bare-repository").strip() == b"true"
        except GitFailedError:
            return False

    def _is_sound(self, guard: command.Guard) -> bool:
        try:
            self.git.run("fsck", "--connectivity-only", "--no-dangling", guard=guard)
        except GitFailedError:
            return False
        return True

    def _clear_leftovers(self) -> None:
        durable.remove_tree(self.folder.with_name(f".{self.folder.name}.new"))
        for folder, names, files in os.walk(self.folder):
            if folder == str(self.folder):
                names[:] = [name for name in names if name != "modules"]
            if os.path.basename(folder) == "objects":  # noqa: PTH119 - os.walk yields strings
                names[:] = [name for name in names if name in {"pack", "info"}]
            for name in files:
                if name.endswith(".lock") or name.startswith((".tmp-", "tmp_")):
                    (self.folder / folder / name).unlink(missing_ok=True)

    def _repack(self, guard: command.Guard) -> None:
        """Every fetch leaves a pack; many of them make git slow."""
        packs = list((self.folder / "objects" / "pack").glob("*.pack"))
        if len(packs) > _PACKS_BEFORE_REPACK:
            self.git.run("repack", "-a", "-d", "-k", "-q", guard=guard)
            self.git.run("pack-refs", "--all", guard=guard)
