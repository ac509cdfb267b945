"""Checks of the app as it is installed and as it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surefoot.cli.doctor.check import Finding, Subject, ok, problem, warning
from surefoot.errors import DamagedError
from surefoot.releases.store import Store
from surefoot.update.lock import Lock
from surefoot.update.states import State

if TYPE_CHECKING:
    from collections.abc import Iterator


def configuration(subject: Subject) -> Iterator[Finding]:
    """Whether it can be loaded."""
    if subject.config is None:
        yield problem(subject.config_problem)
    else:
        yield ok(f"surefoot.toml in {subject.home.root} is right.")


def supervisor(subject: Subject) -> Iterator[Finding]:
    """Whether it runs."""
    if subject.running:
        yield ok("It runs.")
    else:
        yield warning("It does not run.", "Start it with `surefoot run`.")


def lock(subject: Subject) -> Iterator[Finding]:
    """Whether an update is in flight, and whether that is known."""
    try:
        update = Lock(subject.home).read()
    except DamagedError as error:
        yield problem(error.message, error.next_step)
        return
    if update is None:
        yield ok("No update is in flight.")
    elif update.state is State.BROKEN:
        yield problem(
            f"Update {update.id} ended as broken: {update.reason}",
            "Mend the cause, then `surefoot rollback --wait`; where the snapshot is lost, "
            "`surefoot restore BACKUP --wait`.",
        )
    elif subject.running:
        yield ok(f"Update {update.id} is in flight (state `{update.state}`).")
    else:
        yield warning(
            f"Update {update.id} was interrupted (state `{update.state}`).",
            "`surefoot run` carries on with it, or puts everything back.",
        )


def current(subject: Subject) -> Iterator[Finding]:
    """Whether `current` leads to a release that can be started."""
    link = subject.home.current
    if not link.is_symlink() and not link.exists():
        yield warning("None is installed yet.", "`surefoot run` installs the first.")
        return
    store = Store(subject.home)
    name = store.current_id()
    release = store.get(name) if name else None
    if name is None or release is None or not store.code(name).is_dir():
        yield problem(
            f"{link} does not lead to a release that is whole.",
            "Go to another one: `surefoot releases`, `surefoot rollback RELEASE`.",
        )
        return
    scripts = store.folder(name) / "processes"
    if not scripts.is_dir() or not any(scripts.iterdir()):
        yield problem(
            f"Release {name} has no process to start.",
            f"Make it anew: `surefoot update --to {name}`.",
        )
        return
    yield ok(f"{release.ref} ({name}) is in use.")


def environment(subject: Subject) -> Iterator[Finding]:
    """Whether the environment in use was built to its end, and its Python is still there."""
    from surefoot.releases.environment import is_whole

    store = Store(subject.home)
    name = store.current_id()
    release = store.get(name) if name else None
    if release is None:
        return
    if is_whole(subject.home.environments, release.environment):
        yield ok(f"{release.environment} was built to its end, and its Python is there.")
    else:
        yield problem(
            f"{release.environment} is not whole: its Python may have been removed or upgraded.",
            f"Build one anew: `surefoot update --to {name}`. The app will not start without.",
        )


def kept_paths(subject: Subject) -> Iterator[Finding]:
    """Whether what belongs to the user lies outside the release."""
    store = Store(subject.home)
    name = store.current_id()
    if name is None:
        return
    code = store.folder(name) / "app"
    astray = []
    for path in subject.settings.keep.paths:
        inside, outside = code / path, subject.home.root / path
        if inside.exists() and inside.resolve() != outside.resolve():
            astray.append(path)
    if astray:
        yield problem(
            f"{', '.join(astray)} lies inside the release: the next update would leave it behind.",
            f"Move what is in it from {code} to {subject.home.root}, and update.",
        )
    else:
        yield ok("What belongs to the user lies outside the release.")


def page(subject: Subject) -> Iterator[Finding]:
    """Whether the app's own maintenance page can be shown."""
    from string import Template

    from surefoot.app.pages import PLACEHOLDERS, read_own

    name = subject.settings.gate.page
    if name is None:
        yield ok("The built-in one.")
        return
    try:
        text = read_own(str(subject.home.root / name))
    except (OSError, ValueError) as error:
        yield problem(
            f"It cannot be read: {error}.",
            "Mend [gate] page; until then the built-in one is shown.",
        )
        return
    unknown = sorted(set(Template(text).get_identifiers()) - PLACEHOLDERS)
    if unknown:
        yield warning(
            f"It has placeholders that mean nothing: ${', $'.join(unknown)}.",
            f"Known are ${', $'.join(sorted(PLACEHOLDERS))}; a dollar sign is written $$.",
        )
    elif "http-equiv" not in text and "<script" not in text:
        yield warning(
            "It does not reload itself: a visitor would stay on it.",
            'Add <meta http-equiv="refresh" content="$retry_after">.',
        )
    else:
        yield ok(f"{name} is shown.")
