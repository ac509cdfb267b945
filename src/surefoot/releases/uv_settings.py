"""What a build is told by its environment: what the deployer has set, without our own."""

from __future__ import annotations

import os
from pathlib import Path

# They belong to the engine's own environment, or would lead a build somewhere else.
_DROPPED = {
    "PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPATH", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV",
    "CONDA_PREFIX", "UV_PROJECT_ENVIRONMENT", "UV_PROJECT", "UV_PYTHON", "UV_SYSTEM_PYTHON",
    "UV_WORKING_DIR", "UV_NO_SYNC", "UV_DRY_RUN", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID",
    "NOTIFY_SOCKET",
}  # fmt: skip
# pip's names for what uv calls otherwise; pip separates by spaces.
_PIP = (
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", ("UV_INDEX_URL",), " "),
    ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", ("UV_INDEX",), " "),
    ("PIP_FIND_LINKS", "UV_FIND_LINKS", (), ","),
    ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST", (), " "),
    ("PIP_CERT", "SSL_CERT_FILE", (), " "),
    ("PIP_NO_INDEX", "UV_NO_INDEX", (), " "),
)


def build_environment(*, cache: Path | None = None) -> dict[str, str]:
    """The environment for uv and for build commands.

    Settings for uv are passed on; those for pip count where uv has none. `cache` is used where
    the user has no folder for one.
    """
    kept = {k: v for k, v in os.environ.items() if k not in _DROPPED}
    for pip, uv, others, separator in _PIP:
        if kept.get(pip) and not any(name in kept for name in (uv, *others)):
            kept[uv] = separator.join(kept[pip].split())
    if cache and not kept.get("UV_CACHE_DIR") and not _has_cache(kept):
        kept["UV_CACHE_DIR"] = str(cache)
    return kept | {
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_LINK_MODE": "copy",
        "NO_COLOR": "1",
    }


def _has_cache(variables: dict[str, str]) -> bool:
    if variables.get("XDG_CACHE_HOME"):
        return True
    home = variables.get("HOME")
    return bool(home) and home != "/" and os.access(Path(str(home)), os.W_OK)
