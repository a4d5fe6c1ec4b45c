"""The work for one durable invocation, in a task of its own or in that of the request which began it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from ppio_agent_models import PPIOAgentRuntimeError

from .._engine.run import Run
from .._engine.unconnected import never, nowhere
from .._problems import handler_failure

if TYPE_CHECKING:
    from .._corridor.request import InvocationCall
    from .._engine.handler import Handler
    from .._engine.workers import WorkerThreads
    from .._http.exchange import Exchange
    from .._records.record import Record
    from .presence import Channel


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

    def answer_aside(self) -> None:
        """Let the caller whose task works be answered by another one from now on. Here it has nobody's task."""


class Host(Protocol):
    """Who let a run work in the task of its caller."""

    async def answer_aside(self, run: HostedRun) -> None:
        """Answer the caller like any other one, in a task besides."""

    def left(self, run: HostedRun) -> None:
        """Note that the caller is not there any more."""


class HostedRun(DurableRun):
    """A durable run in the task of the request that began it, whose caller is the record's host.

    Args:
        call: What was asked for.
        handler: Who works.
        exchange: The request.
        host: Hears what becomes of the caller.

    Attributes:
        exchange: The same.
        gone: The caller has hung up; the work goes on.
        took_response: It was sent a response of the agent's own, live.
        answering: Who answers it, where it could not wait for the end of the work.
    """

    gone = False
    took_response = False
    answering: asyncio.Task[None] | None = None

    def __init__(self, call: InvocationCall, handler: Handler, exchange: Exchange, host: Host) -> None:
        Run.__init__(self, call.context, exchange.receive, exchange.send)
        self.call = call
        self.handler = handler
        self.task = exchange.task
        self.exchange = exchange
        self._host = host

    @property
    def can_take_response(self) -> bool:
        """Whether it can be sent a response of the agent's own."""
        return not (self.gone or self.took_response or self.answering)

    def take_channel(self) -> Channel:
        """Return how to send it a response of the agent's own, which it gets now."""
        self.took_response = True
        return self.exchange.scope, self.exchange.receive, self.exchange.send

    def answer_aside(self) -> None:
        """Let the caller be answered by a task besides: its answer begins, and the work goes on."""
        if self.gone or self.answering is not None:
            return
        if self._listener is not None:
            self._listener.cancel()
        self.answering = asyncio.get_running_loop().create_task(self._answer_aside())

    async def _answer_aside(self) -> None:
        try:
            await self._host.answer_aside(self)
        finally:
            self._host.left(self)

    async def _listen(self) -> None:
        if self.answering is not None:
            return
        with suppress(asyncio.CancelledError):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.gone = True
            self._host.left(self)
