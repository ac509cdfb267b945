"""Which of a remote's refs is meant: rules without I/O."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from packaging.version import InvalidVersion, Version

HEADS = "refs/heads/"
TAGS = "refs/tags/"


@dataclass(frozen=True)
class Candidate:
    """A release that could be made: what it is called, and the commit that this names now."""

    ref: str
    commit: str
    """All hexadecimal digits of it."""
    version: str | None
    """The newest version that a tag on this commit names."""


@dataclass(frozen=True)
class Remote:
    """What a remote advertises. Tag objects are peeled: every value is the id of a commit."""

    refs: dict[str, str]
    """By full name, `refs/heads/...` and `refs/tags/...`; and `HEAD`."""
    default: str | None
    """The full name of the ref that HEAD points to."""

    def candidate(self, full_name: str) -> Candidate:
        """The candidate for a ref that is there."""
        commit = self.refs[full_name]
        return Candidate(short(full_name), commit, self.version_of(commit))

    def version_of(self, commit: str) -> str | None:
        """The newest version that a tag on this commit names."""
        names = [n for n, c in self.refs.items() if c == commit and n.startswith(TAGS)]
        versions = [v for name in names if (v := version_in(short(name)))]
        return str(max(versions)) if versions else None

    def named(self, name: str) -> str | None:
        """The full name of the ref that a person calls `name`; a tag goes before a branch."""
        for full_name in (name, TAGS + name, HEADS + name):
            if full_name in self.refs:
                return full_name
        return None

    def newest_tag(self, pattern: str) -> str | None:
        """The full name of the tag with the highest version among those that match `pattern`.

        A pre-release counts only where no final release matches.
        """
        found = [
            (not version.is_prerelease, version, name)
            for name in self.refs
            if name.startswith(TAGS)
            and fnmatchcase(short(name), pattern)
            and (version := version_in(short(name)))
        ]
        return max(found)[2] if found else None

    def near(self, name: str) -> list[str]:
        """Names that resemble one that is not there."""
        return difflib.get_close_matches(name, [short(n) for n in self.refs], 3, 0.5)


def parse(listing: str) -> Remote:
    """Reads what `git ls-remote --symref` prints."""
    refs: dict[str, str] = {}
    peeled: dict[str, str] = {}
    default = None
    for line in listing.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: "):
            default = value.removeprefix("ref: ") if name == "HEAD" else default
        elif name.endswith("^{}"):
            peeled[name.removesuffix("^{}")] = value
        elif name == "HEAD" or name.startswith((HEADS, TAGS)):
            refs[name] = value
    return Remote(refs | peeled, default)


def short(full_name: str) -> str:
    """The name by which people call a ref."""
    return full_name.removeprefix(HEADS).removeprefix(TAGS)


def version_in(tag: str) -> Version | None:
    """The version at the end of a tag's name: `v1.2`, `release-1.2`, `app/1.2`."""
    found = re.search(r"^(?:.*?[^0-9A-Za-z.]|[A-Za-z]+)??v?(\d.*)$", tag)
    try:
        return Version(found[1]) if found else None
    except InvalidVersion:
        return None


def is_commit_id(name: str) -> bool:
    """Whether `name` can be a commit's id, whole or abbreviated."""
    return re.fullmatch(r"[0-9a-f]{7,64}", name) is not None
