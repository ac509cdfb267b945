"""The app's side of an update: ask for one, and learn at the start what became of it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from surefoot.app import bootstrap, client, ending, readiness, settings, surroundings
from surefoot.app.errors import UpdateRefused

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from surefoot.app.bootstrap import BootstrapResult
    from surefoot.app.client import UpdateResult

UNTIL_STAGED = ("--json", "--until", "staged")


class SyncUpdateService:
    """The same for code that is not asynchronous.

    A request blocks its thread until it is answered: never make one in the thread of an event loop.
    """

    def __init__(self, in_flight: threading.Lock) -> None:
        self._in_flight = in_flight

    def trigger_update(self, target: str | None = None) -> UpdateResult:
        """As `UpdateService.trigger_update`."""
        return self._ask(_update_arguments(target))

    def request_rollback(self, release: str | None = None) -> UpdateResult:
        """As `UpdateService.request_rollback`."""
        return self._ask(_rollback_arguments(release))

    def post_update_bootstrap(self) -> BootstrapResult:
        """As `UpdateService.post_update_bootstrap`."""
        return bootstrap.look_back()

    def report_ready(self, status: str = "") -> bool:
        """As `UpdateService.report_ready`."""
        return readiness.report_ready(status)

    def _ask(self, arguments: tuple[str, ...]) -> UpdateResult:
        import subprocess

        command = client.command(*arguments)
        _take(self._in_flight)
        with _answered(self._in_flight) as answer:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            answer.append(client.understand(ended.returncode, ended.stdout, ended.stderr))
        return answer[0]


class UpdateService:
    """One per process, as `surefoot.app.update_service`."""

    def __init__(self) -> None:
        # Held while a request is in flight, and for good once the app is about to end.
        self._in_flight = threading.Lock()
        self._asking: asyncio.Task[UpdateResult] | None = None
        self.sync = SyncUpdateService(self._in_flight)

    async def trigger_update(self, target: str | None = None) -> UpdateResult:
        """Asks for an update: to the newest release, or to the branch, tag or commit `target`.

        The app goes on serving while the release is fetched, built and rehearsed. When it is ready,
        the process ends with exit code 10 (see `surefoot.app.ending`): where a server ends it, this
        returns first, so that a request can be answered. Cancelling the caller does not cancel the
        update.

        Returns with the outcome `up_to_date` if there is nothing to do. Raises UpdateRefused if an
        update is in flight already, UpdateAbandoned with the reason if preparing failed, and
        NotSupervised if the app does not run under Surefoot; the app goes on.
        """
        return await self._ask(_update_arguments(target))

    async def request_rollback(self, release: str | None = None) -> UpdateResult:
        """Asks to go back, to the release before or to a named one; as `trigger_update`."""
        return await self._ask(_rollback_arguments(release))

    async def post_update_bootstrap(self) -> BootstrapResult:
        """The first line of the app's start: tells what has happened. Never raises.

        Without a lock it costs microseconds.
        """
        return bootstrap.look_back()

    def report_ready(self, status: str = "") -> bool:
        """Says that the app serves, for `health.notify`. False where nobody listens."""
        return readiness.report_ready(status)

    async def check_periodically(self) -> None:
        """Looks for a release every UPDATE_CHECK_INTERVAL seconds, if AUTO_UPDATE_ENABLED is on.

        Returns at once where it is off, or where the supervisor looks by itself, as it does when
        the setting was on when it started. The engine decides on what is found (releases that
        failed are not tried again) and ends the app when a release is ready.
        Raises NotSupervised if there is no supervisor.
        """
        import asyncio

        home = surroundings.supervised_home()
        while True:
            schedule = settings.schedule(home)
            if not schedule.is_enabled or schedule.is_the_supervisors:
                return
            await asyncio.sleep(schedule.interval_s)
            surroundings.tell_supervisor(home, b"check\n")

    async def _ask(self, arguments: tuple[str, ...]) -> UpdateResult:
        import asyncio

        command = client.command(*arguments)
        _take(self._in_flight)
        self._asking = asyncio.ensure_future(self._ask_engine(command))
        return await asyncio.shield(self._asking)

    async def _ask_engine(self, command: list[str]) -> UpdateResult:
        import asyncio

        with _answered(self._in_flight) as answer:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, problem = await process.communicate()
            answer.append(client.understand(process.returncode or 0, output, problem))
        return answer[0]


def _update_arguments(target: str | None) -> tuple[str, ...]:
    return ("update", *UNTIL_STAGED, *([f"--to={target}"] if target else []))


def _rollback_arguments(release: str | None) -> tuple[str, ...]:
    return ("rollback", *UNTIL_STAGED, *(["--", release] if release else []))


def _take(in_flight: threading.Lock) -> None:
    if not in_flight.acquire(blocking=False):
        raise UpdateRefused("An update is in flight already. Nothing was changed.")


@contextlib.contextmanager
def _answered(in_flight: threading.Lock) -> Iterator[list[UpdateResult]]:
    """Takes the answer; begins the end of the app where a release is ready, and else gives
    `in_flight` back."""
    answer: list[UpdateResult] = []
    try:
        yield answer
    except OSError as error:
        raise client.not_started(error) from None
    finally:
        staged = bool(answer) and answer[0].outcome == "staged"
        if not staged:
            in_flight.release()
    if staged:
        ending.end_process()
