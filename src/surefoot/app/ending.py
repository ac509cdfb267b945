"""Ends the app for the update that is ready, gracefully, and with exit code 10.

- In a worker: the main process (SUREFOOT_PID) gets SIGTERM and ends its workers as it always does.
  Its exit code is its own; the supervisor takes any while the lock exists.
- In the main process, where a server has a handler for SIGTERM, the server ends as on SIGTERM:
  requests are answered first. uvicorn would then die by the signal once more, so it is told through
  its `should_exit` instead.
- In the main process without such a handler: SystemExit(10) in the main thread.

Whatever hangs on its way out is ended by `os._exit(10)`, before the supervisor has to kill it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time

from surefoot.app import surroundings

EXIT_CODE_UPDATE: int = 10
SHARE_OF_GRACE = 0.8
LAST_WORDS_S = 1.0
"""For a thread's answer to leave, where nothing can tell the main thread to end."""


def end_process() -> None:
    """Begins the end. Returns where a server ends by itself; else raises SystemExit(10)."""
    main_pid = surroundings.main_pid()
    if main_pid != os.getpid():
        with contextlib.suppress(ProcessLookupError):
            os.kill(main_pid, signal.SIGTERM)
            return
    atexit.register(_exit_with_code)  # registered last, so it runs first
    _end_after(surroundings.stop_grace_s() * SHARE_OF_GRACE)
    handler = signal.getsignal(signal.SIGTERM)
    server = getattr(handler, "__self__", None)
    if server is not None and isinstance(getattr(server, "should_exit", None), bool):
        server.should_exit = True
    elif handler not in (signal.SIG_DFL, signal.SIG_IGN):
        os.kill(os.getpid(), signal.SIGTERM)
    elif threading.current_thread() is threading.main_thread():
        raise SystemExit(EXIT_CODE_UPDATE)
    else:
        _end_main_thread()


def _end_main_thread() -> None:
    main = threading.main_thread()
    if callable(signal.getsignal(signal.SIGINT)) and main.ident is not None:
        signal.pthread_kill(main.ident, signal.SIGINT)  # becomes a KeyboardInterrupt there
    else:
        _end_after(LAST_WORDS_S)


def _end_after(delay_s: float) -> None:
    def end() -> None:
        time.sleep(delay_s)
        _flush()
        os._exit(EXIT_CODE_UPDATE)

    threading.Thread(target=end, name="surefoot-end", daemon=True).start()


def _exit_with_code() -> None:
    """An app that has ended normally, with its own idea of an exit code, ends with 10.

    Everything else that is registered still runs: here, since nothing does after `os._exit`.
    """
    atexit.unregister(_exit_with_code)
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - the only way to run them
    finally:
        _flush()
        os._exit(EXIT_CODE_UPDATE)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
