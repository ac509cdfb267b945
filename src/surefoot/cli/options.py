"""The options that commands share."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from surefoot.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGURATION = "surefoot.toml"

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def with_home(function: _Function) -> _Function:
    """Adds `--home`; the command gets a `home`."""
    return click.option(
        "--home",
        envvar="SUREFOOT_HOME",
        metavar="DIR",
        callback=lambda ctx, parameter, value: find_home(value),  # noqa: ARG005 - click's signature
        help="The folder that holds surefoot.toml.",
    )(function)


def with_json(function: _Function) -> _Function:
    """Adds `--json`; the command gets `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON on stdout; messages go to stderr."
    )(function)


def user_name() -> str:
    """Who types, for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return "cli"


def find_home(named: str | None) -> Home:
    """The home that is meant: the one that is named, else the nearest one upwards, else here."""
    if named:
        root = Path(named).expanduser()
        if not root.is_dir():
            raise click.BadParameter(f"{named} is not a folder.", param_hint="--home")
        return Home(root.resolve())
    here = Path.cwd()
    holders = (folder for folder in (here, *here.parents) if (folder / CONFIGURATION).is_file())
    return Home(next(holders, here).resolve())
