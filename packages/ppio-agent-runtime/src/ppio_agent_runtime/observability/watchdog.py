"""Detects async code that blocks the event loop, and logs where it is.

A thread schedules a callback on the loop and, if that doesn't run in time, inspects what the loop's thread is
executing. While nothing is in flight the thread sleeps without a timer.
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
"""From then on a loop counts as blocked: `/ping` and every other invocation has waited that long."""
PAUSED_SECONDS: Final = 2.0
"""A wait that took this much longer than it should means that the whole process was paused."""
_QUIET_ROUNDS: Final = 3
_SILENCE_SECONDS: Final = 10.0
"""Minimum time between two warnings."""


class LoopWatchdog:
    """Watches one event loop from a thread.

    Args:
        is_busy: Returns whether anything is in flight.

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
        """Start watching, because work has started on the running loop. Cheap if the thread is awake already."""
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
        """Stop the thread. The next `wake` starts a new one, for the loop that runs then."""
        self._loop = None
        self._wakeup.set()

    def take_paused_seconds(self) -> float:
        """Return how long the process was paused (with its sandbox) since the last call, in seconds."""
        paused, self._paused_seconds = self._paused_seconds, 0.0
        return paused

    def _run(self, loop: asyncio.AbstractEventLoop, wake: threading.Event) -> None:
        quiet = 0
        while self._loop is loop:
            if quiet >= _QUIET_ROUNDS:
                wake.clear()
                self._asleep = True  # from here on `wake` sets the event; earlier work is seen by the next line
                if self._loop is loop and not self._is_busy():
                    wake.wait()
                self._asleep = False
                quiet = 0
            answered = threading.Event()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop has been closed
                return
            # The second, short wait, because after a pause of the process the first one is over at once.
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
        """Find where the loop is blocked, then warn when it continues, or after 5 s while it is still blocked."""
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
    """Return the innermost line of the agent's own code, not of the libraries that it calls."""
    if frame is None:
        return "an unknown place"
    import sysconfig  # here, because both are only needed if a handler blocks
    from pathlib import Path

    libraries = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    foreign = (*libraries, str(Path(__file__).parents[1]), "<frozen")
    stack = traceback.extract_stack(frame)
    line = next((entry for entry in reversed(stack) if not entry.filename.startswith(foreign)), stack[-1])
    return f"{line.filename}:{line.lineno} in {line.name}"
