"""The end of a process that served: what handlers left behind, threads and child processes, does not keep it."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from typing import Any, Final

from .event_loop import holds_up_exit
from .observability.logging import logger

EXIT_ABANDONED: Final = 3
"""A `def` handler, or a thread that a handler had started, did not return before the end; it died with the process."""
_LEFT_SECONDS: Final = 2.0
"""How long the interpreter may wait for threads and child processes."""
_TERMINATED_SECONDS: Final = 1.0
"""How long child processes may take to end after SIGTERM."""


def leave_in_time(code: int) -> None:
    """See that the process ends soon after its program has: now if a thread of `asyncio.to_thread` would hold it up.

    At its exit the interpreter waits without a limit for all threads and processes (of `threading`, `multiprocessing`
    and `concurrent.futures`) that are no daemons. What the program itself does after `app.run()` has no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # The process continues.
    if holds_up_exit():
        logger.error("A thread of asyncio.to_thread() did not end; the process exits without it.")
        _exit(code)
    begins, threads_ended = threading.Event(), threading.Event()
    threading._register_atexit(begins.set)  # type: ignore[attr-defined]  # The only hook for the time when it begins to wait.
    atexit.register(threads_ended.set)
    threading.Thread(
        target=_end_what_is_left, args=[code, begins, threads_ended], name="agent-exit", daemon=True
    ).start()


def _end_what_is_left(code: int, begins: threading.Event, threads_ended: threading.Event) -> None:
    begins.wait()
    time.sleep(_LEFT_SECONDS)
    children = _children()
    if children:
        names = ", ".join(f"{child.name} ({child.pid})" for child in children)
        logger.warning("The agent ends, and child processes that it started are terminated: %s.", names)
        for child in children:
            child.terminate()
        until = time.monotonic() + _TERMINATED_SECONDS
        while any(map(_is_alive, children)) and time.monotonic() < until:
            time.sleep(0.01)
        for child in filter(_is_alive, children):
            child.kill()
        time.sleep(_TERMINATED_SECONDS)  # for those who wait for them
    if not threads_ended.is_set():
        others = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
        names = ", ".join(name for name in others if not name.startswith("agent-"))
        logger.error("Threads did not end, and the process exits without them: %s.", names)
        _exit(code)


def _children() -> list[Any]:
    module = sys.modules.get("multiprocessing.process")  # Not loaded: no process was started.
    return module.active_children() if module is not None else []


def _is_alive(child: Any) -> bool:
    try:
        os.kill(child.pid, 0)  # and not `is_alive`, which would take the exit status from the thread that waits for it
    except OSError:
        return False
    return True


def _exit(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code or EXIT_ABANDONED)
