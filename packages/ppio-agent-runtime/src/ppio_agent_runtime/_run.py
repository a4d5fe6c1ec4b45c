"""One running invocation: its work, the limits it runs under, and the one way to stop it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import copy_context
from types import AsyncGeneratorType, CoroutineType
from typing import TYPE_CHECKING, Any

from ppio_agent_models import InvocationTimeoutError, PPIOAgentRuntimeError

from ._body import ClientGoneError
from ._chunks import ChunkBuffer
from ._problems import handler_failure
from ._produce import produce_async, produce_sync

if TYPE_CHECKING:
    from ._asgi import Receive
    from ._context import RequestContext
    from ._handler import Handler
    from ._workers import WorkerThreads

logger = logging.getLogger("ppio_agent_runtime")

STUBBORN_SECONDS = 1.0
"""How long an answer waits for cancelled code to finish its `finally` blocks before it goes out without it."""


class Run:
    """An invocation from its start to its last byte.

    Whatever ends it early (deadline, disconnect, drain) goes through `stop`: the first reason counts, the code is told,
    and whoever waits for the result gets the reason as an exception at once.
    """

    __slots__ = ("_handle", "_listener", "_loop", "_receive", "_waiter", "_work", "chunks", "context", "reason")

    def __init__(self, context: RequestContext, receive: Receive) -> None:
        self.context = context
        self.chunks: ChunkBuffer | None = None
        self.reason: Exception | None = None
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._work: asyncio.Future[Any] | None = None
        self._handle: asyncio.Handle | None = None
        self._listener: asyncio.Task[None] | None = None

    async def result(self, handler: Handler, payload: Any, workers: WorkerThreads) -> Any:
        """Call the handler and return what it returned; a generator is returned as such.

        Raises:
            InvocationError: It failed, ran out of time, or was stopped.
            ClientGoneError: The caller hung up.
        """
        if handler.in_thread:
            outcome = await self._wait_for(workers.run(copy_context(), handler.call, payload, self.context))
        else:
            try:
                outcome = handler.call(payload, self.context)
            except Exception as error:
                raise handler_failure(error) from error
        if type(outcome) is CoroutineType:
            outcome = await self._wait_for(self._loop.create_task(_contained(outcome)))
        return outcome

    def start_stream(self, generator: Any, workers: WorkerThreads, timeout: float) -> ChunkBuffer:
        """Begin to produce the chunks of `generator`; limits and disconnects are watched from now on."""
        self.chunks = ChunkBuffer()
        self.context.extend_to(timeout)
        if isinstance(generator, AsyncGeneratorType):
            production = produce_async(generator, self.chunks)
        else:
            production = produce_sync(generator, self.chunks, self.context, workers)
        self._work = self._loop.create_task(_contained(production))
        self._work.add_done_callback(self._stream_ended)
        self._watch()
        return self.chunks

    def stop(self, reason: Exception) -> None:
        """End the run early. Async code is cancelled, a `def` handler sees `context.cancelled`, the waiter is told."""
        if self.reason is not None:
            return
        self.reason = reason
        self.context.cancel()
        if self.chunks is not None:
            self.chunks.end(reason)
        if self._work is not None:
            self._work.cancel()
        self._wake()

    def release(self) -> asyncio.Future[Any] | None:
        """Stop watching; return the work when it is still going on, so that somebody can wait for it."""
        if self._handle is not None:
            self._handle.cancel()
        if self._listener is not None:
            self._listener.cancel()
        return None if self._work is None or self._work.done() else self._work

    async def _wait_for(self, work: asyncio.Future[Any]) -> Any:
        self._work = work
        if self.reason is not None:
            work.cancel()
            raise self.reason
        if self._handle is None:
            # Most handlers are done by the time the loop comes to this, and then there is nothing to watch.
            self._handle = self._loop.call_soon(self._watch_if_unfinished)
        self._waiter = self._loop.create_future()
        work.add_done_callback(self._wake)
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.stop(ClientGoneError())
            raise
        if self.reason is not None:
            if not work.done():
                # So that the clean-up of cancelled code comes before the answer in all but stubborn cases.
                await asyncio.wait({work}, timeout=STUBBORN_SECONDS)
            raise self.reason
        return _outcome(work)

    def _wake(self, _: object = None) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stream_ended(self, work: asyncio.Future[Any]) -> None:
        assert self.chunks is not None
        try:
            _outcome(work)
        except PPIOAgentRuntimeError as error:
            self.chunks.end(error)
        else:
            self.chunks.end()

    def _watch_if_unfinished(self) -> None:
        if self._work is not None and not self._work.done():
            self._watch()

    def _watch(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(self.context.remaining(), self._expire)
        if self._listener is None:
            self._listener = self._loop.create_task(self._listen())

    def _expire(self) -> None:
        self.stop(InvocationTimeoutError(f"The agent did not finish within {self.context.timeout:g} s."))

    async def _listen(self) -> None:
        with suppress(asyncio.CancelledError):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.stop(ClientGoneError())


def _outcome(work: asyncio.Future[Any]) -> Any:
    """Return the result of finished work, its failure as one of our own exceptions."""
    try:
        return work.result()
    except asyncio.CancelledError as error:
        raise handler_failure(error) from error
    except Exception as error:
        raise handler_failure(error) from error


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Keep a handler's `sys.exit()` from ending the whole service: asyncio would re-raise it out of the loop."""
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"the handler raised {type(error).__name__}") from error
