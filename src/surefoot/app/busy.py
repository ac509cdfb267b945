"""The veto: while the app says that it is busy, no update begins by itself.

It says so by a lock on `run/busy`, which the kernel takes back when the process ends, however it
ends: an app that crashed is never busy. Any number of processes may hold it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Self

from surefoot.app import surroundings
from surefoot.app.errors import NotSupervised

if TYPE_CHECKING:
    from types import TracebackType

REASON_LIMIT = 200

logger = logging.getLogger("surefoot.app")


class Busy:
    """`with busy("the nightly export runs"): ...`, in sync and async code, threads and workers.

    An update that somebody asks for comes all the same; one that comes by itself is put off until
    nobody is busy, but for no longer than `busy_deadline` in `[update]`. Without Surefoot it does
    nothing. It never raises: what is to be done comes first.
    """

    def __init__(self, reason: str = "") -> None:
        self.reason = " ".join(reason.split())[:REASON_LIMIT]

    def __enter__(self) -> Self:
        _mark.begin(self.reason)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        _mark.end()


class _Mark:
    """This process's share in the lock: held from the first `with` to the end of the last."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._depth = 0
        self._descriptor = -1

    def begin(self, reason: str) -> None:
        home = surroundings.home()
        with self._guard:
            self._depth += 1
            if home is None or self._depth > 1:
                return
            import fcntl  # only where it is needed: starting stays cheap

            try:
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
                self._descriptor = os.open(f"{home}/run/busy", flags, 0o600)
                # Not inherited by a fork, as flock's would be.
                fcntl.lockf(self._descriptor, fcntl.LOCK_SH)
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, reason.encode(errors="replace"), 0)
            except OSError as error:
                logger.warning("An update may come although the app is busy: %s", error)

    def end(self) -> None:
        home = surroundings.home()
        with self._guard:
            self._depth -= 1
            if self._depth or self._descriptor < 0:
                return
            os.close(self._descriptor)
            self._descriptor = -1
        if home is not None and os.path.exists(f"{home}/run/postponed"):  # noqa: PTH110 - no pathlib in an app's start
            with contextlib.suppress(NotSupervised):
                surroundings.tell_supervisor(home, b"check\n")


_mark = _Mark()
