"""The app's own build steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from surefoot.errors import BuildError
from surefoot.releases import command
from surefoot.releases.build_output import decisive_lines

if TYPE_CHECKING:
    from pathlib import Path

    from surefoot.config import Build
    from surefoot.releases.command import Progress

LOCK_NAME = ".building"
"""Beside the releases: held while anything is run in one that is being made."""


def run_build_commands(
    build: Build, code: Path, variables: dict[str, str], progress: Progress
) -> str:
    """Runs the build commands one after another in `code`; returns the end of what they print.

    `variables` is the release's environment (see `processes.command_environment`). Raises
    BuildError for the first command that fails or does not end in time.
    """
    output = ""
    for line in build.commands:
        progress(f"$ {line}")
        with command.exclusive(code.parent.parent / LOCK_NAME) as guard:
            try:
                finished = command.run(
                    ["/bin/sh", "-c", line], cwd=code, environment=variables,
                    timeout_s=build.timeout_s, guard=guard, merge=True, on_line=progress,
                )  # fmt: skip
            except command.TooLongError:
                raise BuildError(
                    f"The build command `{line}` did not end within {build.timeout_s:g} seconds. "
                    "The app was not touched.",
                    next_step="Raise `timeout` in [build] if it needs longer.",
                ) from None
        output += finished.errors
        if finished.code:
            raise BuildError(
                f"The build command `{line}` ended with {finished.code}: "
                f"{decisive_lines(finished.errors)} The app was not touched.",
                next_step="Correct it in the repository, or `commands` in [build].",
                output=finished.errors,
            )
    return output
