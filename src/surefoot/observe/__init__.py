"""What operators see: metrics, notifications, logs and plots, all read from the history.

Nothing here is loaded, or runs, unless it is asked for; each part needs the library that its extra
brings.
"""

from __future__ import annotations

from importlib.util import find_spec

from surefoot.errors import ConfigurationError


def need(extra: str, *modules: str) -> None:
    """Raises ConfigurationError where the libraries of an extra are not installed here."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"{', '.join(missing)} is not installed beside Surefoot.",
            next_step=f"pip install 'surefoot[{extra}]'",
        )
