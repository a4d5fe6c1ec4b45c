"""What is running: counted for `/ping`, stopped at the end of a drain."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ppio_agent_models import DrainingError

from ._run import Run
from ._watchdog import LoopWatchdog

if TYPE_CHECKING:
    from ._asgi import Receive
    from ._context import RequestContext
    from ._health import Health

logger = logging.getLogger("ppio_agent_runtime")

_RETRY_AFTER_SECONDS = 1.0


class Invocations:
    """The runs of one app.

    Attributes:
        draining: No new run is taken any more.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._watchdog = LoopWatchdog(self._is_running)
        self._runs: set[Run] = set()
        self._idle: asyncio.Event | None = None
        self.draining = False

    def start(self, context: RequestContext, receive: Receive) -> Run:
        """Return a new run.

        Raises:
            DrainingError: The service is shutting down.
        """
        if self.draining:
            raise draining_error()
        run = Run(context, receive)
        if not self._runs:
            self._health.work_began()
            self._watchdog.notice()
        self._runs.add(run)
        return run

    def finish(self, run: Run) -> None:
        """Forget a run whose answer is complete; cancelled code that refuses to end keeps it counted."""
        work = run.release()
        if work is None:
            self._discard(run)
        else:
            work.add_done_callback(lambda _: self._left_over_ended(run, work))

    async def drain(self, grace_seconds: float) -> None:
        """Take no more runs, let the running ones finish for `grace_seconds`, then stop the rest and see them out."""
        self.draining = True
        self._health.draining = True
        if not await self._wait_until_idle(grace_seconds):
            logger.warning("%d invocations still run after %g s; they are stopped.", len(self._runs), grace_seconds)
            for run in list(self._runs):
                run.stop(draining_error())
            await self._wait_until_idle(5.0)

    def _is_running(self) -> bool:
        return bool(self._runs)

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
        if not self._runs:
            self._health.work_ended()
            if self._idle is not None:
                self._idle.set()

    def _left_over_ended(self, run: Run, work: asyncio.Future[object]) -> None:
        if not work.cancelled() and work.exception() is not None:
            logger.error(
                "The handler failed after its invocation %s was over.",
                run.context.invocation_id,
                exc_info=work.exception(),
            )
        self._discard(run)


def draining_error() -> DrainingError:
    """Return what callers are told while the service shuts down."""
    return DrainingError(
        "The agent is draining: it shuts down and takes no more work.", retry_after=_RETRY_AFTER_SECONDS
    )
