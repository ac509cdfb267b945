"""Releases from a git repository."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from surefoot import durable
from surefoot.errors import SourceError, StageError
from surefoot.releases import refs, submodules, tree
from surefoot.releases.command import TooLongError
from surefoot.releases.git_command import GitFailedError, without_credentials
from surefoot.releases.mirror import Mirror
from surefoot.releases.refs import HEADS, Candidate

if TYPE_CHECKING:
    from surefoot import config
    from surefoot.releases.command import Guard, Progress

__all__ = ["Candidate", "Change", "GitSource"]

_MAX_CHANGES = 50
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Change:
    """One commit between two releases."""

    commit: str
    subject: str
    author: str
    at: datetime


class GitSource:
    """A git repository to fetch releases from, and its mirror in the home.

    All methods raise SourceError where the source is at fault, StageError where its content is.
    """

    def __init__(self, mirror: Path, source: config.Source, *, depth: int = 0) -> None:
        self.address = _absolute(source.git, mirror.parent)
        self._source = source
        self._depth = depth
        self._mirror = Mirror(
            mirror,
            address=self.address,
            timeout_s=source.timeout_s,
            max_size_mb=source.max_size_mb,
        )

    @property
    def shown_address(self) -> str:
        """The address as it may be shown: without credentials."""
        return without_credentials(self.address)

    def resolve(self, ref: str | None = None) -> Candidate:
        """What `ref` names at the source now: a tag, a branch or a commit's id.

        Without one: what the configuration follows. Only a commit's id that nothing at the source
        points to makes this fetch anything.
        """
        remote = self._remote()
        if ref is None:
            return remote.candidate(self._followed(remote))
        if full_name := remote.named(ref):
            return remote.candidate(full_name)
        if refs.is_commit_id(ref.lower()) and (commit := self._commit(ref.lower(), remote)):
            return Candidate(ref, commit, remote.version_of(commit))
        raise self._unknown(f"There is no tag, branch or commit {ref!r}", remote, ref)

    def fetch(self, candidate: Candidate, progress: Progress) -> None:
        """Brings the candidate's commit into the mirror; only what is not there yet travels."""
        self._mirror.check_owner()
        with self._mirror.lock() as guard:
            if not self._is_here(candidate):
                self._explained(guard, progress)
                if not self._mirror.has(candidate.commit):
                    self._fetch_commit(candidate.commit, guard, progress)
            if not self._mirror.has(candidate.commit):
                raise SourceError(
                    f"{candidate.ref} at {self.shown_address} moved while it was fetched; "
                    "nothing was changed.",
                    next_step="Try again.",
                )
            self._mirror.check_size()
            self._mirror.check_tag(candidate)
        for part, commit, _ in self._submodules(candidate.commit):
            part.fetch(Candidate(commit, commit, None), progress)

    def export(self, commit: str, folder: Path) -> None:
        """Writes the commit's files, byte for byte, into `folder`, which must not be there yet.

        A mirror that turns out to be damaged is fetched anew, once.
        """
        try:
            self._export(commit, folder)
        except tree.DamagedObjectError:
            durable.remove_tree(folder)
            with self._mirror.lock() as guard:
                self._mirror.remake(guard, _silent)
            self._export(commit, folder)

    def changes(self, old: str | None, new: str) -> list[Change]:
        """What `new` brings that `old` does not have: at most 50 commits, newest first.

        Empty where the mirror does not know both.
        """
        if not self._mirror.has(new) or (old is not None and not self._mirror.has(old)):
            return []
        said = self._mirror.git.run(
            "log", "-z", f"--max-count={_MAX_CHANGES}", "--format=%H%x1f%s%x1f%an%x1f%cI",
            "--end-of-options", new, *([f"^{old}"] if old else []), "--",
        )  # fmt: skip
        lines = said.decode("utf-8", errors="replace").split("\0")
        return [_change(line) for line in lines if line]

    def _remote(self) -> refs.Remote:
        try:
            said = self._mirror.git.run(
                "ls-remote", "--symref", "--end-of-options", self.address,
                "HEAD", f"{HEADS}*", f"{refs.TAGS}*", inside=False,
            )  # fmt: skip
        except (GitFailedError, TooLongError) as error:
            raise self._unreachable(error) from None
        remote = refs.parse(said.decode("utf-8", errors="surrogateescape"))
        if not remote.refs:
            raise SourceError(f"{self.shown_address} has no commit yet.")
        return remote

    def _followed(self, remote: refs.Remote) -> str:
        """The full name of the ref that the configuration follows."""
        if branch := self._source.branch:
            if HEADS + branch in remote.refs:
                return HEADS + branch
            raise self._unknown(f"There is no branch {branch!r}", remote, branch)
        if pattern := self._source.tags:
            if found := remote.newest_tag(pattern):
                return found
            raise self._unknown(f"No tag with a version in it matches {pattern!r}", remote, pattern)
        if remote.default in remote.refs:
            return str(remote.default)
        if "HEAD" in remote.refs:
            return "HEAD"
        raise SourceError(
            f"{self.shown_address} has no default branch.", next_step="Set `branch` in [source]."
        )

    def _commit(self, name: str, remote: refs.Remote) -> str | None:
        if name in remote.refs.values():
            return name
        self._mirror.check_owner()
        with self._mirror.lock() as guard:
            if found := self._mirror.commit_id(name):
                return found
            self._explained(guard, _silent)
            if found := self._mirror.commit_id(name):
                return found
            if len(name) in {40, 64}:
                self._fetch_commit(name, guard, _silent)
            return self._mirror.commit_id(name)

    def _is_here(self, candidate: Candidate) -> bool:
        """Whether the mirror knows the commit, and by the same name as the source does."""
        if not self._mirror.has(candidate.commit):
            return False
        names = (refs.TAGS + candidate.ref, HEADS + candidate.ref)
        known = {commit for name in names if (commit := self._mirror.commit_id(name))}
        return candidate.commit in known or candidate.commit.startswith(candidate.ref.lower())

    def _explained(self, guard: Guard, progress: Progress) -> None:
        try:
            self._mirror.update(guard, progress)
        except (GitFailedError, TooLongError) as error:
            raise self._unreachable(error) from None

    def _fetch_commit(self, commit: str, guard: Guard, progress: Progress) -> None:
        """Not every server gives out a commit that no branch or tag leads to."""
        try:
            self._mirror.update_commit(commit, guard, progress)
        except GitFailedError as error:
            progress(f"The source does not give out {commit[:12]} by its id: {error.message}")

    def _export(self, commit: str, folder: Path) -> None:
        files = tree.entries(self._mirror.git, commit)
        size_mb = sum(entry.size_bytes for entry in files) / 1024**2
        if size_mb > self._source.max_size_mb:
            raise StageError(
                f"The release's files are {size_mb:.0f} MB, more than the "
                f"{self._source.max_size_mb} MB that are allowed.",
                next_step="Raise `max_size` in [source] if that is right.",
            )
        parts = self._submodules(commit, files)
        tree.write(self._mirror.git, files, folder)
        for part, part_commit, path in parts:
            part.export(part_commit, folder / path)

    def _submodules(
        self, commit: str, files: list[tree.Entry] | None = None
    ) -> list[tuple[GitSource, str, str]]:
        """The commit's submodules: the source of each, its commit and its path."""
        if files is None:
            files = tree.entries(self._mirror.git, commit)
        found = [entry for entry in files if entry.is_submodule]
        if found and (not self._source.submodules or self._depth >= _MAX_DEPTH):
            names = ", ".join(entry.path for entry in found[:3])
            raise StageError(
                f"The release contains git submodules ({names}), which are not fetched.",
                next_step="Set `submodules = true` in [source] to fetch them.",
            )
        addresses = submodules.addresses(self._mirror.git, commit) if found else {}
        parts = []
        for entry in found:
            if entry.path not in addresses:
                raise StageError(f"The release's submodule {entry.path!r} has no address.")
            source = submodules.source(self._source, self.address, addresses[entry.path])
            folder = submodules.mirror(self._mirror.folder, source)
            part = GitSource(folder, source, depth=self._depth + 1)
            parts.append((part, entry.object_id, entry.path))
        return parts

    def _unreachable(self, error: GitFailedError | TooLongError) -> SourceError:
        return SourceError(
            f"The source {self.shown_address} cannot be used: {error.message}",
            next_step="The app was not touched. Check the address, the network and the access.",
            output=error.output,
        )

    def _unknown(self, what: str, remote: refs.Remote, name: str) -> SourceError:
        near = remote.near(name)
        return SourceError(
            f"{what} at {self.shown_address}.",
            next_step=f"Did you mean {', '.join(near)}?" if near else "",
        )


def _absolute(address: str, home: Path) -> str:
    """A path is relative to the home; anything else is git's to understand."""
    is_path = not urlsplit(address).scheme and ":" not in address.partition("/")[0]
    return str(home / Path(address).expanduser()) if is_path else address


def _change(line: str) -> Change:
    commit, subject, author, at = line.strip("\n").split("\x1f")
    return Change(commit, _printable(subject), _printable(author), datetime.fromisoformat(at))


def _printable(text: str) -> str:
    """Without what could move a terminal's cursor."""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _silent(_line: str, /) -> None:
    pass
