"""Running git so that nothing outside Surefoot decides what it does.

Neither system nor user configuration is read (`gitconfig`, beside this file, is all of it), no
hook is run and no prompt appears. Credentials come from the address of the source, from
GIT_ASKPASS or from ssh.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from surefoot.errors import SourceError
from surefoot.releases import command

if TYPE_CHECKING:
    from collections.abc import Callable

_OLDEST_GIT = (2, 32)  # the first to know GIT_CONFIG_GLOBAL
_KEPT_VARIABLES = {
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ",
    "SSH_AUTH_SOCK", "SSH_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_PROXY_SSL_CAINFO",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
}  # fmt: skip
# ssh's own words say more than git's, which only ask whether the repository exists.
_DECISIVE = (
    r"^(ssh: .*|Host key verification failed.*|.*Permission denied \(.*)$",
    r"^(remote: (?:error|fatal).*|ERROR: .*)$",
    r"^(?:fatal|error): (.*)$",
    r"^(.*\S.*)$",
)


class GitFailedError(SourceError):
    """git ended with an error."""


class Git:
    """Runs git on one repository, `folder`, or on none."""

    def __init__(self, folder: Path, *, address: str, timeout_s: float) -> None:
        self.folder = folder
        self.address = address
        self.timeout_s = timeout_s

    def run(
        self,
        *arguments: str,
        guard: command.Guard | None = None,
        inside: bool = True,
        progress: Callable[[str], None] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> bytes:
        """What git prints. `inside` the repository, or without any.

        Raises GitFailedError with the line that says why, TooLongError, TooMuchError.
        """
        finished = command.run(
            self.command(*arguments, inside=inside),
            cwd=Path("/"),
            environment=environment(),
            timeout_s=self.timeout_s,
            guard=guard,
            on_line=(lambda line: progress(self.without_secrets(line))) if progress else None,
            watch=watch,
        )
        if finished.code:
            errors = self.without_secrets(finished.errors)
            raise GitFailedError(decisive_line(errors, finished.code), output=errors)
        return finished.stdout

    def command(self, *arguments: str, inside: bool = True) -> list[str]:
        """The whole command line."""
        require_git()
        return ["git", *([f"--git-dir={self.folder}"] if inside else []), *arguments]

    def without_secrets(self, text: str) -> str:
        """`text` without the user and password of any address in it."""
        user = self.address.partition("://")[2].partition("/")[0].rpartition("@")[0]
        if user and not self.address.startswith("ssh://"):
            text = text.replace(f"{user}@", "")
        return without_credentials(text)


def without_credentials(text: str) -> str:
    """`text` without the user, password and query of any web address in it."""
    text = re.sub(r"(\b(?:https?|git|file)://)[^/\s@'\"]*@", r"\1", text)
    text = re.sub(r"(\b[a-z+]+://[^/\s@:'\"]*):[^/\s@'\"]*@", r"\1@", text)
    return re.sub(r"(\bhttps?://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)


def decisive_line(errors: str, code: int) -> str:
    """The one line of git's that says what went wrong."""
    for pattern in _DECISIVE:
        if found := re.search(pattern, errors, re.MULTILINE):
            return f"{found[1].strip().rstrip('.')}."
    return f"git ended with {code} and said nothing."


def environment() -> dict[str, str]:
    """All that git is told by its environment."""
    kept = {k: v for k, v in os.environ.items() if k.upper() in _KEPT_VARIABLES}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(Path(__file__).with_name("gitconfig")),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CEILING_DIRECTORIES": "/",
        "LC_ALL": "C",
    }


@cache
def require_git() -> None:
    """Raises SourceError where git is missing or too old to be kept away from configuration."""
    try:
        said = subprocess.run(
            ["git", "--version"], env=environment(), capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SourceError(
            f"git cannot be run: {error}.", next_step="Install git 2.32 or newer."
        ) from None
    found = re.search(r"(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < _OLDEST_GIT:
        raise SourceError(f"{said.strip()} is too old.", next_step="Install git 2.32 or newer.")
