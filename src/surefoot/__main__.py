"""The `surefoot` command, and `python -m surefoot`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("click", "msgspec", "dotenv")


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"surefoot: The command line needs {', '.join(missing)}, which is not installed here. "
            'Install "surefoot[engine]", in an environment of its own.\n'
        )
        raise SystemExit(1)
    from surefoot.cli.main import surefoot

    surefoot.main(prog_name="surefoot")


if __name__ == "__main__":
    main()
