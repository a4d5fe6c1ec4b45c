"""One clock for everything that has a time limit.

A timer and a listener for each invocation would cost more than a small handler. So there is one clock that ticks while
anything runs; an invocation that ends before the next tick costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..observability.watchdog import PAUSED_SECONDS

if TYPE_CHECKING:
    from ..observability.watchdog import LoopWatchdog

TICK_SECONDS: Final = 0.05
"""How exact deadlines, heartbeats and the detection of disconnects are."""
_DOUBT_SECONDS: Final = 1.0
"""How long the watchdog may take to distinguish a pause of the process from a blocked loop."""


class Watched(Protocol):
    """Something that the clock watches."""

    def on_tick(self, now: float) -> None:
        """Check its time limits, at the loop's time `now`."""

    def postpone(self, seconds: float, before: float) -> None:
        """Extend what began before the time `before` by the time during which the process was paused."""


class Ticker:
    """The clock of one app, on one event loop.

    Args:
        invocations: The running invocations, all of which are watched.
        watchdog: Distinguishes a pause of the process from a blocked loop.
        on_tick: Called at every tick.
    """

    def __init__(self, invocations: Mapping[str, Watched], watchdog: LoopWatchdog, on_tick: Callable[[], None]) -> None:
        self._invocations = invocations
        self._watchdog = watchdog
        self._on_tick = on_tick
        self._others: set[Watched] = set()
        self._limited: dict[asyncio.Task[Any], tuple[float, float | None]] = {}  # seconds; until when, if known
        self._handle: asyncio.TimerHandle | None = None
        self._last_tick = 0.0
        self._judged_from = 0.0
        self._looks = 0
        self._gap_middle = 0.0

    def reset(self) -> None:
        """Reset for a new lifespan on the running loop; an earlier one may have ended on another loop."""
        self._others.clear()
        self._limited.clear()
        self._handle = None
        self._last_tick = 0.0

    def start(self) -> None:
        """Tick while there is anything to watch."""
        if self._handle is None:
            loop = asyncio.get_running_loop()
            self._last_tick = self._last_tick or loop.time()
            self._handle = loop.call_later(TICK_SECONDS, self._tick)

    def watch(self, watched: Watched) -> None:
        """Watch something besides the invocations."""
        self._others.add(watched)
        self.start()

    def forget(self, watched: Watched) -> None:
        """Stop watching it."""
        self._others.discard(watched)

    def limit(self, task: asyncio.Task[Any], seconds: float) -> None:
        """Cancel `task` after `seconds`, unless it is released before."""
        self._limited[task] = (seconds, None)  # the first tick knows the time
        self.start()

    def release(self, task: asyncio.Task[Any]) -> bool:
        """End the limit of `task`, and return whether it was still within it."""
        return self._limited.pop(task, None) is not None

    def cancel_limited(self) -> None:
        """Cancel all tasks that have a limit, as if their time were up."""
        for task in list(self._limited):
            del self._limited[task]
            task.cancel()

    def _tick(self) -> None:
        self._handle = None
        self._on_tick()
        if not (self._invocations or self._limited or self._others):
            self._last_tick = 0.0
            return
        self.start()
        now = asyncio.get_running_loop().time()
        if self._process_slept(now):
            return
        for invocation in list(self._invocations.values()):
            invocation.on_tick(now)
        for watched in list(self._others):
            watched.on_tick(now)
        for task, (seconds, until) in list(self._limited.items()):
            if until is None:
                self._limited[task] = (seconds, now + seconds)
            elif until <= now:
                del self._limited[task]
                task.cancel()

    def _process_slept(self, now: float) -> bool:
        """Return whether the process was paused since the last tick, and extend all time limits by the pause.

        A paused sandbox must not cause timeouts when it resumes. A gap in the ticks may also be a handler that blocks
        the loop, which does count; the watchdog's thread knows, and until it has checked, nothing times out.
        """
        gap, self._last_tick = now - self._last_tick, now
        if gap > PAUSED_SECONDS:
            self._judged_from, self._looks = now + _DOUBT_SECONDS, self._watchdog.rounds
            self._gap_middle = now - gap / 2  # what began later has not slept
        if slept := self._watchdog.take_paused_seconds():
            for watched in (*self._invocations.values(), *self._others):
                watched.postpone(slept, self._gap_middle)
            for task, (seconds, until) in self._limited.items():
                self._limited[task] = (seconds, None if until is None else until + slept)
        return now < self._judged_from and self._watchdog.rounds == self._looks
