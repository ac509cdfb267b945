"""What a deployer sets: `surefoot.toml`, overridden by `.env`, overridden by the environment.

A key or value that cannot be meant is refused with its line, never ignored.
"""

from __future__ import annotations

from surefoot.config.model import (
    App,
    Build,
    Config,
    Dashboard,
    Database,
    Gate,
    Health,
    Keep,
    Logs,
    Notify,
    Source,
    Update,
)
from surefoot.config.reading import FILE_NAME, SETTINGS, dotenv, load, parse

__all__ = [
    "FILE_NAME",
    "SETTINGS",
    "App",
    "Build",
    "Config",
    "Dashboard",
    "Database",
    "Gate",
    "Health",
    "Keep",
    "Logs",
    "Notify",
    "Source",
    "Update",
    "dotenv",
    "load",
    "parse",
]
