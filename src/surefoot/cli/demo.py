"""`surefoot demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--short", is_flag=True, help="One good release and two bad ones.")
@click.option("--keep", is_flag=True, help="Do not remove what was made, and say where it is.")
@click.option(
    "--folder", type=click.Path(path_type=Path), metavar="DIR", help="Do it here; must be empty."
)
def demo(*, short: bool, keep: bool, folder: Path | None) -> int:
    """Watch a sample app being updated.

    Good releases and bad ones come while somebody uses it. Nothing outside a temporary folder is
    touched.

    \b
    Examples:
      surefoot demo
      surefoot demo --short --keep
    """
    from surefoot.demo.story import main

    return main(short, keep, folder)
