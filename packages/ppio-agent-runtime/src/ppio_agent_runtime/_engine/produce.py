"""Generators to chunks: async ones on the loop, plain ones in a worker thread, each value encoded where it is made."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from .._serialize import encode
from .chunks import MAX_BYTES, MAX_CHUNKS

if TYPE_CHECKING:
    from .chunks import ChunkSink
    from .context import RequestContext
    from .workers import WorkerThreads


async def produce_async(generator: AsyncGenerator[Any, Any], buffer: ChunkSink) -> None:
    """Put every value of `generator` into `buffer`; close the generator whatever happens."""
    put, only_text = buffer.put, True
    try:
        async for value in generator:
            if only_text and not isinstance(value, str):
                only_text = buffer.only_text = False
            if not put(encode(value)):
                if buffer.ended:  # stopped, and the generator swallowed its cancellation: close it at this yield
                    return
                await buffer.room()
    finally:
        await generator.aclose()


async def produce_sync(
    generator: Generator[Any, Any, Any], buffer: ChunkSink, context: RequestContext, workers: WorkerThreads
) -> None:
    """Put every value of `generator` into `buffer`, pulling it in worker threads.

    A thread is held while the generator makes values and given back while the buffer is full. When this is cancelled,
    the generator is closed in a thread: at its next yield, or at once when it is not running.
    """
    pump = (_Pump if context.reporter is None else _ReportingPump)(generator, buffer, context)
    within = copy_context()

    def close_if_suspended(pull: asyncio.Future[bool]) -> None:
        if not pull.cancelled():
            pull.exception()  # seen here: nobody else will look
        if not pump.exhausted:
            workers.submit(within, pump.close)

    while True:
        pull: asyncio.Future[bool] = workers.run(within, pump.run)
        try:
            # Not `await pull`: a cancel would detach it, and its thread would let go of the generator unseen.
            await asyncio.wait((pull,))
            pump.flush()
            if pull.result():
                return
            await buffer.room()
        except asyncio.CancelledError:
            pull.add_done_callback(close_if_suspended)
            raise


class _Pump:
    """Runs a generator in a thread and hands its values to the loop as they come.

    Values go through a deque, whose ends are safe to use from two threads. The loop is only woken when it is not about
    to look anyway: one wake-up serves all values that were made since.
    """

    __slots__ = ("_buffer", "_context", "_generator", "_loop", "_notified", "_ready", "exhausted")

    def __init__(self, generator: Generator[Any, Any, Any], buffer: ChunkSink, context: RequestContext) -> None:
        self._generator = generator
        self._buffer = buffer
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Any] = deque()  # encoded chunks; reports are in a tuple
        self._notified = False
        self.exhausted = False

    def run(self) -> bool:
        """Make values until the generator ends (True) or the hand-over is full (False). Runs in a thread."""
        try:
            return self._run()
        except BaseException:  # its own error, or a value that cannot be JSON: then it is suspended at its yield
            with suppress(Exception):
                self.close()
            raise

    def _run(self) -> bool:
        size = 0
        if self._context.cancelled:
            self.close()
            return True
        for count, value in enumerate(self._generator, 1):
            if self._buffer.only_text and not isinstance(value, str):
                self._buffer.only_text = False
            chunk = encode(value)
            size += len(chunk)
            self._ready.append(chunk)
            if self._context.cancelled:
                self.close()
                return True
            if count == MAX_CHUNKS or size >= MAX_BYTES:
                return False
            if not self._notified:
                self._notified = True
                with suppress(RuntimeError):  # the loop has been closed: the flag above will stop us at the next yield
                    self._loop.call_soon_threadsafe(self.flush)
        self.exhausted = True
        return True

    def flush(self) -> None:
        """Move what is ready into the buffer. Runs on the loop."""
        self._notified = False
        ready = self._ready
        while ready:
            self._buffer.put(ready.popleft())

    def close(self) -> None:
        """Close the generator, running its `finally` blocks. Runs in a thread."""
        self.exhausted = True
        self._generator.close()


class _ReportingPump(_Pump):
    """A pump that `context.progress` goes through as well, so that reports keep their place among the chunks."""

    __slots__ = ("_tell",)

    def __init__(self, generator: Generator[Any, Any, Any], buffer: ChunkSink, context: RequestContext) -> None:
        super().__init__(generator, buffer, context)
        assert context.reporter is not None
        self._tell = context.reporter
        context.report_by(self.report)

    def report(self, value: bytes) -> None:
        """Hand over a report. Runs in any thread."""
        self._ready.append((value,))
        if not self._notified:
            self._notified = True
            with suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Move what is ready into the buffer. Runs on the loop."""
        self._notified = False
        ready = self._ready
        while ready:
            item = ready.popleft()
            if type(item) is tuple:
                self._tell(item[0])
            else:
                self._buffer.put(item)
