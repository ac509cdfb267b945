"""`surefoot metrics`: for Prometheus."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from surefoot.cli.options import with_home

if TYPE_CHECKING:
    from surefoot.home import Home


@click.command()
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Replace this file, for node_exporter.",
)
@click.option("--listen", metavar="HOST:PORT", help="Answer over HTTP until ended.")
@click.option("--rules", is_flag=True, help="Print alert rules for Prometheus.")
@click.option("--dashboard", is_flag=True, help="Print a dashboard for Grafana.")
@with_home
def metrics(
    home: Home, textfile: Path | None, listen: str | None, *, rules: bool, dashboard: bool
) -> None:
    """Print metrics in Prometheus' text format.

    They are computed from the history, the lock and the disk when they are asked for: nothing has
    to run in between. Needs surefoot[metrics].

    \b
    Examples:
      surefoot metrics
      surefoot metrics --textfile /var/lib/prometheus/node-exporter/surefoot.prom
      surefoot metrics --listen 127.0.0.1:9750
      surefoot metrics --rules > /etc/prometheus/surefoot.yml
    """
    if rules or dashboard:
        click.echo(_shipped("alerts.yml" if rules else "grafana.json"), nl=False)
        return
    from surefoot.observe import need

    need("metrics", "prometheus_client")
    if listen is not None:
        from surefoot.observe import endpoint

        host, port = _address(listen)
        endpoint.serve(home, host, port)
        return
    from surefoot import durable
    from surefoot.observe.metrics import exposition

    text = exposition(home)
    if textfile is not None:
        durable.write(textfile.absolute(), text)
    else:
        click.echo(text, nl=False)


def _shipped(name: str) -> bytes:
    return files("surefoot.observe").joinpath(name).read_bytes()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise click.BadParameter(f"`{text}` is not HOST:PORT.", param_hint="--listen")
    return host.strip("[]") or "127.0.0.1", int(port)
