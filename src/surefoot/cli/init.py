"""`surefoot init`: writes a `surefoot.toml` from what is found."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from surefoot.cli.options import CONFIGURATION, with_json
from surefoot.cli.output import busy, emit, note

if TYPE_CHECKING:
    from surefoot.cli.discover import App


@click.command()
@click.option(
    "--git", metavar="URL", help="The app's repository; else the origin of the clone here."
)
@click.option("--branch", metavar="NAME", help="The branch to follow; else the default one.")
@click.option("--force", is_flag=True, help="Replace a surefoot.toml that is there.")
@click.option(
    "--home",
    envvar="SUREFOOT_HOME",
    metavar="DIR",
    help="Where to write it; made if it is not there. Else here.",
)
@with_json
def init(
    git: str | None, branch: str | None, home: str | None, *, force: bool, as_json: bool
) -> None:
    """Write a surefoot.toml for the app in this folder, or in a repository.

    In a folder without code, the repository that --git names is fetched and looked through.
    Nothing of the app is run. What was found, and what you should check, is printed. Every key
    that is written is explained beside it.

    \b
    Examples:
      mkdir notes && cd notes && surefoot init --git https://example.org/me/notes.git
      surefoot init            in a clone of the app
    """
    from surefoot import config
    from surefoot.cli import discover, template

    root = Path(home).expanduser().resolve() if home else Path.cwd()
    file = root / CONFIGURATION
    _refuse_overwriting(file, force=force)
    address = git or _origin(root)
    following = branch or ("" if git else _branch(root))
    if not address:
        raise click.UsageError(f"{root} is no clone with an origin: say --git URL.")
    root.mkdir(parents=True, exist_ok=True)
    if discover.has_code(root):
        found = discover.look(root)
    else:
        found = _looked_remotely(root, address, following)
    name = _name(address) or root.name
    text = template.render(found, name=name, git=address, branch=following)
    config.parse(text, name=str(file))
    with file.open("w" if force else "x", encoding="utf-8") as writer:
        writer.write(text)
    to_check = _to_check(found, text)
    if as_json:
        emit({"file": str(file), "found": _found(found, address, following), "check": to_check})
    else:
        _tell(file, _found(found, address, following), to_check)


def _refuse_overwriting(file: Path, *, force: bool) -> None:
    from surefoot.errors import RefusedError

    if file.exists() and not force:
        raise RefusedError(
            f"{file} is there already and was not touched.", next_step="Replace it with --force."
        )


def _looked_remotely(root: Path, address: str, branch: str) -> App:
    """Fetches into the home's mirror, which the first installation needs anyway."""
    from surefoot.cli import discover
    from surefoot.config import Source
    from surefoot.errors import StageError, SurefootError
    from surefoot.home import Home
    from surefoot.releases.git import GitSource

    source = GitSource(Home(root).mirror, Source(git=address, branch=branch or None))
    try:
        with busy(f"Fetching {source.shown_address}"), tempfile.TemporaryDirectory() as folder:
            newest = source.resolve()
            source.fetch(newest, lambda _line: None)
            code = Path(folder, "code")
            source.export(newest.commit, code)
            return discover.look(code)
    except StageError as error:
        raise SurefootError(
            f"{error.message} No {CONFIGURATION} was written.", next_step=error.next_step
        ) from None


def _origin(folder: Path) -> str:
    return _git(folder, "remote", "get-url", "origin")


def _branch(folder: Path) -> str:
    """The branch that is checked out, if the origin has it."""
    branch = _git(folder, "symbolic-ref", "--short", "--quiet", "HEAD")
    known = _git(folder, "rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{branch}")
    return branch if branch and known else ""


def _git(folder: Path, *arguments: str) -> str:
    from surefoot.releases.git_command import environment

    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _name(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2].rpartition(":")[2].removesuffix(".git")


def _found(found: App, address: str, branch: str) -> dict[str, str]:
    from surefoot.releases.git_command import without_credentials

    return {
        "git": without_credentials(address),
        "branch": branch,
        "framework": found.framework,
        "application": found.target,
        "dependencies": found.dependencies,
        "python": found.python,
        "migrations": found.alembic,
        "database": found.database,
        "health": found.health,
    }


def _to_check(found: App, text: str) -> list[str]:
    checks = list(found.notes)
    if found.framework == "other":
        checks.append("[app] command and listen: what starts the app, and where it answers.")
    elif "--fd 3" in text:
        checks.append("[app] command: uvicorn must be among the app's dependencies.")
    if not found.dependencies:
        checks.append("[build] dependencies: no file that lists them was found.")
    if found.database:
        checks.append("[database] url: it must be the very file that the app uses.")
    else:
        checks.append("[database]: none was found. Without one, no database is backed up.")
    if not found.health:
        checks.append("[health]: no health path was found. Without one, staying up counts.")
    return checks


def _tell(file: Path, found: dict[str, str], to_check: list[str]) -> None:
    click.echo(f"Wrote {file}.")
    click.echo("Found:")
    for name, value in found.items():
        click.echo(f"  {name + ':':<14} {value or '-'}")
    click.echo("Check:")
    for line in to_check:
        click.echo(f"  - {line}")
    note("Then: `surefoot doctor`, and `surefoot run`.")
