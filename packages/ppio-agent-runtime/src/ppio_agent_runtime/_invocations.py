"""What is running: counted for `/ping`, watched by one clock for all, stopped at the end of a drain.

A timer and a disconnect listener for each invocation would cost more than a small handler itself. So there is one clock
that ticks while anything runs; an invocation that is over before the next tick has paid nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import DrainingError

from ._log_ids import ids_of
from ._watchdog import LoopWatchdog

if TYPE_CHECKING:
    from ._health import Health
    from ._run import Run

logger = logging.getLogger("ppio_agent_runtime")

TICK_SECONDS: Final = 0.05
"""How exact deadlines, heartbeats and the notice of a disconnect are."""
_RETRY_AFTER_SECONDS: Final = 1.0
_FAREWELL_SECONDS: Final = 5.0
"""How long stopped runs may take to say goodbye to their callers."""


class Invocations:
    """The runs of one app, on one event loop.

    Attributes:
        answer_late: Tells a run's caller why it was stopped, while its handler still refuses to end.
        on_end: Hears of every admitted run that is over, its code included.
        on_drain: Hears that no more runs are taken, before the running ones get their grace.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._watchdog = LoopWatchdog(self._is_running)
        self._runs: set[Run] = set()
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._clock: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None
        self._draining = False
        self._late: set[asyncio.Task[None]] = set()
        self.answer_late: Callable[[Run], Coroutine[Any, Any, None]] | None = None
        self.on_end: Callable[[Run], None] | None = None
        self.on_drain: Callable[[], None] | None = None

    @property
    def running(self) -> int:
        """How many runs are in flight, those that wait at the door included."""
        return len(self._runs)

    def add(self, run: Run) -> None:
        """Count and watch a run from now on.

        Raises:
            DrainingError: The service is shutting down.
        """
        if self._draining:
            raise draining_error()
        if not self._runs:
            self._health.work_began()
            self._watchdog.notice()
        self._runs.add(run)
        if self._clock is None:
            self._start_clock()

    def finish(self, run: Run) -> None:
        """Forget a run whose answer is complete; cancelled code that refuses to end keeps it counted."""
        production = run.release()
        if production is None:
            self._discard(run)
        else:
            production.add_done_callback(lambda _: self._discard(run))

    async def drain(self, grace_seconds: float) -> None:
        """Take no more runs, let the running ones finish for `grace_seconds`, then stop the rest and see them out."""
        self._draining = True
        self._health.draining = True
        if self.on_drain is not None:
            self.on_drain()
        if not await self._wait_until_idle(grace_seconds):
            logger.warning("%d invocations still run after %g s; they are stopped.", len(self._runs), grace_seconds)
            for run in list(self._runs):
                invocation = run.context.invocation_id
                logger.warning("Invocation %s is cut by the drain.", invocation, extra=ids_of(run.context))
                run.stop(draining_error())
            await self._wait_until_idle(_FAREWELL_SECONDS)

    def reading_began(self, task: asyncio.Task[Any], limit_seconds: float) -> None:
        """Cancel `task` if it is still reading its body after `limit_seconds`."""
        self._reading[task] = asyncio.get_running_loop().time() + limit_seconds
        if self._clock is None:
            self._start_clock()

    def reading_ended(self, task: asyncio.Task[Any]) -> bool:
        """Say whether `task` was in time."""
        return self._reading.pop(task, None) is not None

    def _start_clock(self) -> None:
        self._clock = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._clock = None
        if not (self._runs or self._reading):
            return
        self._start_clock()
        now = loop.time()
        for run in list(self._runs):
            if run.watch(now) and self.answer_late is not None:
                task = loop.create_task(self.answer_late(run))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
        for task in [task for task, deadline in self._reading.items() if deadline <= now]:
            del self._reading[task]
            task.cancel()

    async def _wait_until_idle(self, seconds: float) -> bool:
        if self._runs:
            self._idle = asyncio.Event()
            try:
                await asyncio.wait_for(self._idle.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def _discard(self, run: Run) -> None:
        self._runs.discard(run)
        if run.admitted and self.on_end is not None:
            self.on_end(run)
        if not self._runs:
            self._health.work_ended()
            if self._idle is not None:
                self._idle.set()

    def _is_running(self) -> bool:
        return bool(self._runs)


def draining_error() -> DrainingError:
    """Return what callers are told while the service shuts down."""
    return DrainingError(
        "The agent is draining: it shuts down and takes no more work.", retry_after=_RETRY_AFTER_SECONDS
    )
