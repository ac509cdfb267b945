"""A real git repository with the sample app's releases, good and bad.

Dates, authors and settings of git are fixed: the same source gives the same commit ids anywhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from surefoot.demo import wheels
from surefoot.demo.changes import Change, Release, Replace, bad_releases, good_releases

FILES = (
    "README.md",
    "alembic.ini",
    "main.py",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/0001_notes.py",
    "models.py",
    "requirements.in",
    "requirements.txt",
    "surefoot.toml",
)


@dataclass
class History:
    """A work tree with every release, and a remote that has those which are published."""

    folder: Path
    releases: dict[str, Release] = field(default_factory=dict)
    """By tag."""
    commits: dict[str, str] = field(default_factory=dict)
    """The commit id of each tag."""

    @property
    def remote(self) -> Path:
        """The bare repository that an app is updated from."""
        return self.folder / "notes.git"

    @property
    def work(self) -> Path:
        return self.folder / "notes"

    @property
    def wheels(self) -> Path:
        """The folder that the releases' own wheels are found in."""
        return self.folder / "wheels"

    @property
    def good(self) -> tuple[str, ...]:
        return tuple(tag for tag in self.releases if tag.startswith("v"))

    @property
    def bad(self) -> tuple[str, ...]:
        return tuple(tag for tag in self.releases if tag.startswith("bad-"))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which pip and uv find the wheels, beside those that are set already."""
        return {
            name: separator.join(filter(None, [os.environ.get(name), str(self.wheels)]))
            for name, separator in (("PIP_FIND_LINKS", " "), ("UV_FIND_LINKS", ","))
        }

    def add(self, release: Release) -> str:
        """Commits and tags a release; it is not published yet. Returns its commit id."""
        if release.base is None:
            for name in FILES:
                target = self.work / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(notes_folder() / name, target)
        else:
            self.git("checkout", "--quiet", "--detach", release.base)
        version: Change = Replace(
            "main.py",
            f'VERSION = "{self.releases[release.base].version if release.base else "1.0"}"',
            f'VERSION = "{release.version}"',
        )
        for change in (version, *release.changes):
            change.apply(self.work)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", f"{release.tag}: {release.what}")
        self.git("tag", "-a", "-m", release.what, release.tag)
        if release.base and release.tag.startswith("v"):
            self.git("branch", "--force", "main")
        self.releases[release.tag] = release
        self.commits[release.tag] = self.git("rev-parse", "HEAD")
        return self.commits[release.tag]

    def publish(self, *tags: str) -> None:
        """Pushes the tags to the remote; the newest good one becomes its branch `main`."""
        refs = [f"refs/tags/{tag}" for tag in tags]
        if good := [tag for tag in tags if tag.startswith("v")]:
            refs.append(f"+{self.commits[good[-1]]}:refs/heads/main")
        self.git("push", "--quiet", str(self.remote), *refs)

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Runs git in the work tree, alike everywhere; returns what it prints."""
        date = f"{1735689600 + 3600 * len(self.releases)} +0000"  # from 2025-01-01 on
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
        }
        for role in ("AUTHOR", "COMMITTER"):
            environment |= {
                f"GIT_{role}_NAME": "Notes",
                f"GIT_{role}_EMAIL": "notes@example.org",
                f"GIT_{role}_DATE": date,
            }
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder or self.work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"git {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.strip()


def make_history(
    folder: Path, *, wheel: Path | None = None, publish: tuple[str, ...] | None = None
) -> History:
    """Makes the repository in `folder`, which is made if it is not there.

    `wheel` is Surefoot's, where it has been built already. `publish` names the tags that the
    remote has from the start: all of them, if it is not said.
    """
    history = History(folder)
    for made in (history.remote, history.work, history.wheels):
        made.mkdir(parents=True)
    if wheel is None:
        wheel = wheels.surefoot_wheel(history.wheels)
    else:
        wheel = Path(shutil.copy(wheel, history.wheels))
    words = wheels.words_wheel(history.wheels)
    history.git("init", "--quiet", "-b", "main", "--bare", folder=history.remote)
    history.git("init", "--quiet", "-b", "main")
    for release in (*good_releases(wheels.pin(wheel), wheels.pin(words)), *bad_releases()):
        history.add(release)
    history.git("checkout", "--quiet", "main")
    history.publish(*(history.releases if publish is None else publish))
    return history


def notes_folder() -> Path:
    """Where the sample app's files lie: in the source tree, else in the installed package."""
    for folder in (wheels.SOURCE_TREE / "examples" / "notes", Path(__file__).parent / "notes"):
        if (folder / "main.py").is_file():
            return folder
    raise RuntimeError("This copy of Surefoot came without its sample app, examples/notes.")


def main() -> int:
    if len(sys.argv) != 2:
        print("Use: python -m surefoot.demo.sample FOLDER", file=sys.stderr)  # noqa: T201
        return 2
    history = make_history(Path(sys.argv[1]).absolute())
    for tag, commit in history.commits.items():
        print(f"{commit[:12]}  {tag:15} {history.releases[tag].what}")  # noqa: T201
    print(f"\nRemote: {history.remote}")  # noqa: T201
    for name, value in history.environment.items():
        print(f'export {name}="{value}"')  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
