"""Names the async handler that blocks its event loop.

A thread asks the loop for a sign of life and, when none comes, looks at what the loop's thread is executing. While
nothing is in flight the thread sleeps without a timer.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

from .logging import logger

_BLOCKED_SECONDS: Final = 0.2
"""From here on a loop counts as blocked: `/ping` and every other invocation waited for so long."""
PAUSED_SECONDS: Final = 2.0
"""A wait that took so much longer than it should means that the whole process stood still."""
_QUIET_ROUNDS: Final = 3
_SILENCE_SECONDS: Final = 10.0
"""At most one warning in this time."""


class LoopWatchdog:
    """Watches one event loop from a thread.

    Args:
        is_busy: Says whether anything is in flight.

    Attributes:
        rounds: How often the thread has waited.
    """

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        self._is_busy = is_busy
        self._wakeup = threading.Event()
        self._asleep = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._last_warning = -_SILENCE_SECONDS
        self._paused_seconds = 0.0
        self.rounds: int = 0

    def wake(self) -> None:
        """Say that work has begun on the running loop. Cheap when the thread is awake already."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop_thread = threading.get_ident()
            self._wakeup = threading.Event()
            self._asleep = False
            threading.Thread(
                target=self._run, args=(self._loop, self._wakeup), name="agent-watchdog", daemon=True
            ).start()
        elif self._asleep:
            self._asleep = False
            self._wakeup.set()

    def close(self) -> None:
        """Let the thread end. The next `wake` starts a new one, for the loop that runs then."""
        self._loop = None
        self._wakeup.set()

    def take_paused_seconds(self) -> float:
        """Return for how long the whole process stood still (a paused sandbox) since this was asked last."""
        paused, self._paused_seconds = self._paused_seconds, 0.0
        return paused

    def _run(self, loop: asyncio.AbstractEventLoop, wake: threading.Event) -> None:
        quiet = 0
        while self._loop is loop:
            if quiet >= _QUIET_ROUNDS:
                wake.clear()
                self._asleep = True  # from here on `wake` wakes; what began before it is seen in the next line
                if self._loop is loop and not self._is_busy():
                    wake.wait()
                self._asleep = False
                quiet = 0
            answered = threading.Event()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop has been closed
                return
            # The second, short wait: a process that was paused wakes with the first one over and an innocent loop.
            if not self._wait(answered, _BLOCKED_SECONDS) and not self._wait(answered, _BLOCKED_SECONDS / 4):
                self._warn_when_over(answered)
            self._wait(threading.Event(), _BLOCKED_SECONDS / 2)
            quiet = 0 if self._is_busy() else quiet + 1

    def _wait(self, event: threading.Event, seconds: float) -> bool:
        began = time.monotonic()
        happened = event.wait(seconds)
        excess = time.monotonic() - began - seconds
        if excess > PAUSED_SECONDS:
            self._paused_seconds += excess
        self.rounds += 1
        return happened

    def _warn_when_over(self, answered: threading.Event) -> None:
        """Look where the loop is stuck, then warn; at once for long blocks, so that a hang is seen while it lasts."""
        began = time.monotonic() - _BLOCKED_SECONDS
        where = _innermost_user_line(sys._current_frames().get(self._loop_thread))
        self._wait(answered, 5.0)
        now = time.monotonic()
        if now - self._last_warning >= _SILENCE_SECONDS:
            self._last_warning = now
            logger.warning(
                "Async code blocks the event loop (%.1f s%s) at %s. Other invocations and /ping wait meanwhile: "
                "await instead, make the handler a plain 'def', or set isolate_handlers=True.",
                now - began,
                "" if answered.is_set() else " and counting",
                where,
            )


def _innermost_user_line(frame: FrameType | None) -> str:
    """Return where the agent's own code is; what it called in the standard library or in packages says less."""
    if frame is None:
        return "an unknown place"
    import sysconfig  # both are needed when a handler blocks, and not by an agent that is idle
    from pathlib import Path

    libraries = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    foreign = (*libraries, str(Path(__file__).parents[1]), "<frozen")
    stack = traceback.extract_stack(frame)
    line = next((entry for entry in reversed(stack) if not entry.filename.startswith(foreign)), stack[-1])
    return f"{line.filename}:{line.lineno} in {line.name}"
