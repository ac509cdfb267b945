"""The probes, and which of them a configuration asks for."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import tempfile
from typing import TYPE_CHECKING

from surefoot.errors import ConfigurationError
from surefoot.health.http import HttpProbe
from surefoot.health.outcome import Outcome, Probe
from surefoot.health.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from surefoot.config import Health

__all__ = [
    "Combined",
    "CommandProbe",
    "HttpProbe",
    "Outcome",
    "Probe",
    "Readiness",
    "StayingUp",
    "TcpProbe",
    "probes_for",
    "reachable",
]

OUTPUT_LIMIT = 300
"""Bytes of the end of a command's output that are looked at."""


class TcpProbe:
    """Healthy is a connection that is accepted. Weak: a listening port proves little."""

    name = "tcp"

    def __init__(self, address: str, *, timeout_s: float = 5.0) -> None:
        host, _, port = reachable(address).rpartition(":")
        if not port.isdecimal():
            raise ConfigurationError(
                f"`health.tcp`: `{address}` is not an address.", next_step="Write host:port."
            )
        self._place = (host.strip("[]"), int(port))
        self._timeout_s = timeout_s

    def probe(self) -> Outcome:
        try:
            with socket.create_connection(self._place, self._timeout_s):
                return Outcome(True, "the connection was accepted", answered=True)
        except TimeoutError:
            return Outcome(False, f"no connection within {self._timeout_s:g} s")
        except OSError as error:
            return Outcome(False, f"no connection: {error.strerror or error}")

    def close(self) -> None:
        """Nothing is kept open between two questions."""


class CommandProbe:
    """Healthy is a command that ends with 0 in time; else its whole group is killed."""

    name = "command"

    def __init__(
        self,
        command: str,
        *,
        environment: Mapping[str, str],
        directory: Path | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self._arguments = _split(command)
        self._environment = dict(environment)
        self._directory = directory
        self._timeout_s = timeout_s

    def probe(self) -> Outcome:
        # A file, not a pipe: what the command leaves behind in the background must not hold us.
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    self._arguments,
                    env=self._environment,
                    cwd=self._directory,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                return Outcome(False, f"the command cannot be started: {error}")
            try:
                code = process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                return Outcome(False, f"the command took longer than {self._timeout_s:g} s")
            finally:
                if process.returncode is None:
                    _kill_group(process)
            if code == 0:
                return Outcome(True, "the command ended with 0", answered=True)
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - OUTPUT_LIMIT))
            lines = output.read().decode(errors="replace").strip().splitlines()
            said = f": {lines[-1]}" if lines else ""
            return Outcome(False, f"the command ended with {code}{said}")

    def close(self) -> None:
        """Nothing is kept open between two questions."""


class StayingUp:
    """Where no probe is configured: healthy as long as nothing exits, which the judge is told."""

    name = "staying up"

    def probe(self) -> Outcome:
        return Outcome(True, "it stays up")

    def close(self) -> None:
        """Nothing is open."""


class Combined:
    """Healthy when all are; the first that is not speaks for all."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.probes = tuple(probes)
        self.name = " and ".join(probe.name for probe in self.probes)

    def probe(self) -> Outcome:
        details = []
        for probe in self.probes:
            outcome = probe.probe()
            if not outcome.healthy:
                return Outcome(False, f"{probe.name}: {outcome.detail}", outcome.answered)
            details.append(outcome.detail)
        return Outcome(True, ", ".join(details), answered=True)

    def close(self) -> None:
        for probe in self.probes:
            probe.close()


@contextlib.contextmanager
def probes_for(
    health: Health,
    address: str | None,
    *,
    token: str,
    environment: Mapping[str, str],
    notify_socket: Path | None,
    directory: Path | None = None,
    over: Path | None = None,
) -> Iterator[Probe]:
    """What `health` asks for, as one probe, closed at the end.

    `address` is where `health.path` is asked, `token` opens the gate, and a command is run in
    `environment` and `directory`. Without `notify_socket`, READY=1 is not waited for. `over` is a
    Unix socket by which the same questions are asked.
    """
    probes: list[Probe] = []
    with contextlib.ExitStack() as opened:
        # First: it listens from here on, and READY=1 may come at any time.
        if health.notify and notify_socket is not None:
            probes.append(Readiness(notify_socket))
            opened.callback(probes[-1].close)
        urls = [health.http] if health.http else []
        path = str(over) if over else None
        if address is not None and address.startswith("unix:"):
            urls.append(f"http://localhost{health.path or '/'}")
            path = path or address.removeprefix("unix:")
        elif health.path is not None and address is not None:
            urls.append(f"http://{reachable(address)}{health.path}")
        probes += [
            HttpProbe(
                url,
                status=health.status,
                token=token,
                timeout_s=health.timeout_s,
                path=path,
            )
            for url in urls
        ]
        if health.tcp:
            probes.append(TcpProbe(health.tcp, timeout_s=health.timeout_s))
        if health.command:
            probes.append(
                CommandProbe(
                    health.command,
                    environment=environment,
                    directory=directory,
                    timeout_s=health.timeout_s,
                )
            )
        yield Combined(probes or [StayingUp()])


def reachable(address: str) -> str:
    """`host:port` that can be connected to, where `address` may be all interfaces."""
    host, _, port = address.rpartition(":")
    host = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(  # noqa: S104 - compared, not bound
        host, host
    )
    return f"{host}:{port}"


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(f"`health.command`: `{command}`: {error}.") from None
    if not arguments:
        raise ConfigurationError("`health.command` is empty.")
    return arguments


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Not reaped yet, so the group's id cannot belong to anybody else.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
