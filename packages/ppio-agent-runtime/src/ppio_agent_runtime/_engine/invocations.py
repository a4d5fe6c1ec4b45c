"""What is running: counted for `/ping`, watched by one clock for all, stopped at the end of a drain.

A timer and a disconnect listener for each invocation would cost more than a small handler itself. So there is one clock
that ticks while anything runs; an invocation that is over before the next tick has paid nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from ppio_agent_models import DrainingError

from ..observability.logging import ids_of, logger
from ..observability.watchdog import PAUSED_SECONDS, LoopWatchdog

if TYPE_CHECKING:
    from ..observability.health import Health
    from .run import Run

TICK_SECONDS: Final = 0.05
"""How exact deadlines, heartbeats and the notice of a disconnect are."""
_RETRY_AFTER_SECONDS: Final = 1.0
_DOUBT_SECONDS: Final = 1.0
"""How long the watchdog may take to tell a pause of the process from a blocked loop."""
_OUT_OF_TIME: Final = -1.0
FAREWELL_SECONDS: Final = 5.0
"""How long stopped runs may take to say goodbye to their callers."""


class Watched(Protocol):
    """Something that the clock looks after."""

    def watch(self, now: float) -> None:
        """Look after it, at the loop's time `now`."""

    def postpone(self, seconds: float, before: float) -> None:
        """Give back time in which the whole process did not run to what began before the time `before`."""


class Invocations:
    """The runs of one app, on one event loop.

    Attributes:
        read_limit_seconds: How long a body may take.
        answer_late: Tells a run's caller why it was stopped, while its handler still refuses to end.
        draining: No more runs are taken.
        on_end: Hears of every admitted run that is over, its code included.
        on_drain: Hears that no more runs are taken, before the running ones get their grace.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._watchdog = LoopWatchdog(self._is_running)
        self._runs: set[Run] = set()
        health.busy_checks.append(self._is_running)
        self._was_seen_busy = False
        self._reading: dict[asyncio.Task[Any], float | None] = {}  # until when; the first tick knows
        self._clock: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None
        self.draining = False
        self.read_limit_seconds = 30.0
        self._watched: set[Watched] = set()
        self._last_tick = 0.0
        self._judged_from = 0.0
        self._looks = 0
        self._gap_middle = 0.0
        self._late: set[asyncio.Task[None]] = set()
        self.answer_late: Callable[[Run], Coroutine[Any, Any, None]] | None = None
        self.on_end: Callable[[Run], None] | None = None
        self.on_drain: Callable[[], None] | None = None

    def reopen(self) -> None:
        """Begin anew on the running loop, after an earlier life of the app may have ended on another one."""
        self.draining = False
        self._clock = None
        self._reading.clear()
        self._runs.clear()
        self._was_seen_busy = False
        self._watched.clear()
        self._last_tick = 0.0
        self._health.reset()

    def close(self) -> None:
        """Let the watchdog's thread end."""
        self._watchdog.close()

    def busy_also_while(self, holds: Callable[[], bool]) -> None:
        """Let `/ping` be busy while `holds()`, also when nothing runs."""
        self._health.busy_checks.append(holds)

    @property
    def running(self) -> int:
        """How many runs are in flight, those that wait at the door included."""
        return len(self._runs)

    def add(self, run: Run) -> None:
        """Count and watch a run from now on.

        Raises:
            DrainingError: The service is shutting down.
        """
        if self.draining:
            raise draining_error()
        self._runs.add(run)
        if not self._was_seen_busy:  # a service under load is told once in a tick, not for every run: 3 us of 46
            self._was_seen_busy = True
            self._health.update()
            self._watchdog.wake()  # after the run was added: the watchdog's thread looks there before it sleeps
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
        self.draining = self._health.draining = True
        for task in list(self._reading):  # still uploading: new work
            del self._reading[task]
            task.cancel()
        if self.on_drain is not None:
            self.on_drain()
        if not await self._wait_until_idle(grace_seconds):
            logger.warning("%d invocations still run after %g s; they are stopped.", len(self._runs), grace_seconds)
            for run in list(self._runs):
                invocation = run.context.invocation_id
                logger.warning("Invocation %s is cut by the drain.", invocation, extra=ids_of(run.context))
                run.stop(draining_error())
            await self._wait_until_idle(FAREWELL_SECONDS)

    def reading_began(self, task: asyncio.Task[Any]) -> None:
        """Cancel `task` if it is still reading its body after `read_limit_seconds`.

        Raises:
            DrainingError: The service is shutting down.
        """
        if self.draining:
            raise draining_error()
        self._reading[task] = None
        if self._clock is None:
            self._start_clock()

    def reading_ended(self, task: asyncio.Task[Any]) -> bool:
        """Say whether `task` was in time, and not cancelled by the beginning of a drain."""
        return self._reading.pop(task, _OUT_OF_TIME) is not _OUT_OF_TIME

    def find(self, invocation_id: str) -> Run | None:
        """Return the run of this id, if it is in flight."""
        return next((run for run in self._runs if run.context.invocation_id == invocation_id), None)

    def attend(self, watched: Watched) -> None:
        """Let the clock watch something besides the runs."""
        self._watched.add(watched)
        if self._clock is None:
            self._start_clock()

    def dismiss(self, watched: Watched) -> None:
        """Stop watching it."""
        self._watched.discard(watched)

    def _process_slept(self, now: float) -> bool:
        """Say whether the whole process stood still since the last tick, and give the time back to everybody.

        A sandbox that was paused must not wake to a storm of timeouts. A gap in the ticks may also be a handler that
        blocks the loop, which counts; the watchdog's thread knows, and until it has looked nobody is judged.
        """
        gap, self._last_tick = now - self._last_tick, now
        if gap > PAUSED_SECONDS:
            self._judged_from, self._looks = now + _DOUBT_SECONDS, self._watchdog.rounds
            self._gap_middle = now - gap / 2  # what began later has not slept
        if slept := self._watchdog.take_paused_seconds():
            for run in self._runs:
                run.context.postpone(slept, self._gap_middle)
            for watched in self._watched:
                watched.postpone(slept, self._gap_middle)
            for task, until in self._reading.items():
                self._reading[task] = None if until is None else until + slept
        return now < self._judged_from and self._watchdog.rounds == self._looks

    def _start_clock(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._last_tick:
            self._last_tick = loop.time()
        self._clock = loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._clock = None
        self._note_whether_busy()
        if not (self._runs or self._reading or self._watched):
            self._last_tick = 0.0
            return
        self._start_clock()
        now = loop.time()
        if self._process_slept(now):
            return
        for run in list(self._runs):
            if run.watch(now) and self.answer_late is not None:
                task = loop.create_task(self.answer_late(run))
                self._late.add(task)
                task.add_done_callback(self._late.discard)
        for watched in list(self._watched):
            watched.watch(now)
        for task, until in list(self._reading.items()):
            if until is None:
                self._reading[task] = now + self.read_limit_seconds
            elif until <= now:
                del self._reading[task]
                task.cancel()

    def _note_whether_busy(self) -> None:
        if self._runs:
            self._watchdog.wake()
        elif self._was_seen_busy:
            self._was_seen_busy = False
            self._health.update()

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
        if not self._runs and self._idle is not None:
            self._idle.set()

    def _is_running(self) -> bool:
        return bool(self._runs)


def draining_error() -> DrainingError:
    """Return what callers are told while the service shuts down."""
    return DrainingError(
        "The agent is draining: it shuts down and takes no more work.", retry_after=_RETRY_AFTER_SECONDS
    )
