"""The work for one durable invocation, in a task of its own or in that of the request which began it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ppio_agent_models import PPIOAgentRuntimeError

from .._engine.run import Run
from .._engine.unconnected import never, nowhere
from .._problems import handler_failure

if TYPE_CHECKING:
    from .._corridor.request import InvocationCall
    from .._engine.handler import Handler
    from .._engine.workers import WorkerThreads
    from .._records.record import Record


class DurableRun(Run):
    """A run that its callers may leave: who knows of them is the record.

    Args:
        call: What was asked for.
        handler: Who works.

    Attributes:
        call: The same.
        handler: The same.
        record: Where it goes.
        on_late: Called with this once it is stopped, and nobody should wait any longer for its code to end.
    """

    record: Record
    on_late: Callable[[DurableRun], None]

    def __init__(self, call: InvocationCall, handler: Handler) -> None:
        super().__init__(call.context, never, nowhere)
        self.call = call
        self.handler = handler

    def watch(self, now: float) -> bool:
        """Look after the run at every tick of the clock."""
        if super().watch(now):
            self.on_late(self)
        return False

    async def produce(self, generator: Any, workers: WorkerThreads, timeout: float) -> None:
        """Put the chunks of `generator` into the log, in the task that calls this.

        Args:
            timeout: How many seconds it may take from the invocation's start.

        Raises:
            PPIOAgentRuntimeError: It failed, or was stopped.
        """
        self.chunks = log = self.record.log
        try:
            await self.send_response(self._produce(generator, log, workers), timeout)
        except PPIOAgentRuntimeError:
            raise
        except BaseException as error:  # sys.exit() ends an invocation, not the service
            if isinstance(error, asyncio.CancelledError) and self._cancelled_from_outside():
                raise
            raise handler_failure(error) from error
        finally:
            if log.first_chunk_at is not None:
                self.first_chunk = log.first_chunk_at - self.context.started

    def stop(self, reason: Exception) -> None:
        """See `Run`. Who reads a stream need not wait until its generator has cleaned up."""
        super().stop(reason)
        if self.chunks is not None:
            asyncio.get_running_loop().call_soon(self.on_late, self)
