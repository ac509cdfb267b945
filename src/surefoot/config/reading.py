"""Reads `surefoot.toml`, overridden by `.env`, overridden by the environment."""

from __future__ import annotations

import difflib
import io
import os
import re
import tomllib
from typing import TYPE_CHECKING, Any

import msgspec
from dotenv import dotenv_values

from surefoot import stored
from surefoot.config.checking import check
from surefoot.config.explaining import explained, in_words
from surefoot.config.model import OVERRIDABLE, Config
from surefoot.errors import ConfigurationError, DamagedError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "surefoot.toml"

# The published names of the settings that a deployer changes most; each has a place in the file.
SETTINGS = {
    "AUTO_UPDATE_ENABLED": ("update", "auto"),
    "UPDATE_CHECK_INTERVAL": ("update", "interval"),
    "UPDATE_REMOTE_URL": ("source", "git"),
    "UPDATE_BRANCH": ("source", "branch"),
}

SECRETS = frozenset({"SUREFOOT_NOTIFY_URLS"})
"""Are read where they are used, and are no keys of the file."""


def load(home: Path, environment: dict[str, str] | None = None) -> Config:
    """The configuration in `home`.

    Raises ConfigurationError, with the line, on anything that cannot be meant.
    """
    file = home / FILE_NAME
    try:
        text = stored.read(file).decode()
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no {FILE_NAME} in {home}.",
            next_step="Write one with `surefoot init`, or name the folder with --home.",
        ) from None
    except DamagedError as error:
        raise ConfigurationError(error.message) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} cannot be read: {error}.") from None
    overrides = {k: v for k, v in dotenv(home).items() if v is not None}
    overrides |= os.environ if environment is None else environment
    return parse(text, overrides, name=str(file))


def parse(text: str, overrides: dict[str, str] | None = None, *, name: str = FILE_NAME) -> Config:
    """The configuration in `text`, with `overrides` (the names of the environment) applied."""
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError(f"{name} is not TOML: it is nested too deep.") from None
    except ValueError as error:  # not every one of them is a TOMLDecodeError
        raise ConfigurationError(f"{name} is not TOML: {str(error).rstrip('.')}.") from None
    database = raw.get("database", {})
    if (isinstance(database, dict) and "url" in database) or not _all_tables(database):
        raw["database"] = {"main": database}
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise explained(str(error), text, name) from None
    found = _overridden(raw, overrides or {})
    if found:
        try:
            config = msgspec.convert(raw, Config, strict=False)
        except msgspec.ValidationError as error:
            message, _, place = str(error).partition(" - at ")
            place = re.sub(r"\[.*\]", "", place.strip("`").removeprefix("$."))
            raise ConfigurationError(
                f"{found.get(place, place)} (in .env or the environment): {in_words(message)}."
            ) from None
    check(config, text, name, found)
    return config


def dotenv(home: Path) -> dict[str, str | None]:
    """What `.env` says. Raises ConfigurationError where it cannot be read."""
    try:
        text = stored.read(home / ".env").decode()
    except FileNotFoundError:
        return {}
    except DamagedError as error:
        raise ConfigurationError(error.message) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{home / '.env'} cannot be read: {error}.") from None
    return dotenv_values(stream=io.StringIO(text), interpolate=False)


def _all_tables(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())


def _overridden(raw: dict[str, Any], overrides: dict[str, str]) -> dict[str, str]:
    """Puts the overrides into `raw`; returns which setting each came from, by its dotted place.

    An empty value means "not set", as it does for most programs that are told by `.env`.
    """
    settings = {name: place for name, place in SETTINGS.items() if overrides.get(name)}
    for name, value in overrides.items():
        section, _, key = name.removeprefix("SUREFOOT_").lower().partition("_")
        if name in SECRETS:
            continue
        if name.startswith("SUREFOOT_") and section in OVERRIDABLE and key and value:
            settings.setdefault(name, (section, key))
    found = {}
    for name, (section, key) in settings.items():
        raw.setdefault(section, {})[key] = _worth(name, section, key, overrides[name])
        found[f"{section}.{key}"] = name
    for one, other in (("branch", "tags"), ("tags", "branch")):
        if f"source.{one}" in found and f"source.{other}" not in found:
            raw["source"].pop(other, None)  # whoever names a branch from outside means that branch
    return found


def _worth(name: str, section: str, key: str, value: str) -> str | list[str]:
    """What a setting's text stands for, before it is converted to the key's type."""
    kind = OVERRIDABLE[section]
    defaults = dict(
        zip(kind.__struct_encode_fields__, msgspec.structs.astuple(kind()), strict=True)
    )
    if key not in defaults or isinstance(defaults[key], dict):
        where = "in .env or the environment"
        plain = [k for k, v in defaults.items() if not isinstance(v, dict)]
        near = difflib.get_close_matches(key, plain, 1)
        right = f"Did you mean `SUREFOOT_{section.upper()}_{near[0].upper()}`?" if near else ""
        if key in defaults:
            right = f"Write [{section}.{key}] in {FILE_NAME}."
        raise ConfigurationError(f"{name} ({where}) sets nothing.", next_step=right)
    if isinstance(defaults[key], list):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(defaults[key], bool):
        said = value.strip().lower()
        return {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(said, said)
    return value
