"""Calls handlers and collects what they return or yield: async code on the event loop, plain code in threads.

Each value is encoded in the thread that made it. No code of a `def` handler, including its iterators, runs on the event
loop, and one thread runs a plain iterator from its first value to its close.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from ..event_loop import run_in_thread
from ..http.sse import one_line
from ..large_json import encode_large, is_large
from ..serialization import CONTAINERS, encode, without_iterators
from .event_log import MAX_BYTES, MAX_CHUNKS
from .worker_threads import EarlyResult

if TYPE_CHECKING:
    from ..context import RequestContext
    from ..events.framer import EncodedFramer
    from .event_log import EventLog
    from .worker_threads import WorkerThreads

Outcome = Any
"""The outcome of a handler: a value as JSON in `bytes`, or something that `is_stream`, or that `is_response`."""
_PLAIN_TYPES: Final = frozenset({dict, str, list, type(None), bool, int, float, tuple})
"""Types of values that are neither a stream nor a response nor awaitable."""
_END: Final = object()


def is_stream(outcome: Outcome) -> bool:
    """Return whether an outcome is a stream: it has `__anext__`, or `__next__` and so needs a thread."""
    kind = type(outcome)
    return kind is ThreadedStream or hasattr(kind, "__anext__") or hasattr(kind, "__next__")


def must_await(result: Any) -> bool:
    """Return whether a handler's result has to be awaited: a coroutine of any kind, or a future."""
    return isinstance(result, Awaitable) and not hasattr(type(result), "__anext__")


def is_response(outcome: Outcome) -> bool:
    """Return whether an outcome is a Starlette response; while that module is not loaded, it can't be."""
    module = sys.modules.get("starlette.responses")
    return module is not None and isinstance(outcome, module.Response)


def call_in_thread(
    workers: WorkerThreads, call: Callable[[Any, Any], Any], payload: Any, context: RequestContext
) -> asyncio.Future[Outcome]:
    """Return a future for the outcome of a plain function. If that is an awaitable, the caller must await it."""
    return workers.run(copy_context(), _call_here, call, payload, context, workers, asyncio.get_running_loop())


def outcome_of(result: Any) -> Outcome:
    """Return a handler's result as an outcome, on the event loop; for a large value, a future of it.

    Raises:
        SerializationError: It is a value that cannot become JSON.
    """
    kind = type(result)
    if kind in _PLAIN_TYPES or not (is_stream(result) or is_response(result)):
        if kind in CONTAINERS:
            result = without_iterators(result)
        if not is_large(result):
            return encode(result)
        return run_in_thread(copy_context().run, encode_large, result, name="agent-json")
    return result


async def produce(
    stream: Outcome, log: EventLog, context: RequestContext, workers: WorkerThreads, framing: Framing
) -> None:
    """Put every value of a stream into the log, and close the stream whatever happens.

    Args:
        stream: The values.
        log: Where they go, as typed events from the first value on that is an event, or from the beginning.
        context: The context of the invocation.
        workers: Threads for plain iterators.
        framing: Makes typed events of them.

    Raises:
        Exception: The stream's exception.
        SerializationError: A value cannot become JSON.
    """
    if hasattr(type(stream), "__anext__"):
        return await _produce_async(stream, log, framing)
    if not isinstance(stream, ThreadedStream):
        stream = ThreadedStream(stream, context, workers, asyncio.get_running_loop())
        workers.submit(copy_context(), stream.run)
    await stream.produce_into(log, framing)


def abandon(outcome: Outcome) -> None:
    """Close an outcome, or that of a future, which arrived after its invocation was stopped."""
    if isinstance(outcome, asyncio.Future):
        has_result = outcome.done() and not outcome.cancelled() and outcome.exception() is None
        outcome = outcome.result() if has_result else None
    if isinstance(outcome, ThreadedStream):
        outcome.abandon()


def _call_here(
    call: Callable[[Any, Any], Any],
    payload: Any,
    context: RequestContext,
    workers: WorkerThreads,
    loop: asyncio.AbstractEventLoop,
) -> Any:
    result = call(payload, context)
    kind = type(result)
    if kind in _PLAIN_TYPES:
        if kind in CONTAINERS:
            result = without_iterators(result)
        return encode_large(result) if is_large(result) else encode(result)
    if hasattr(kind, "__anext__") or is_response(result) or must_await(result):
        return result
    if hasattr(kind, "__next__"):
        stream = ThreadedStream(result, context, workers, loop)
        return EarlyResult(stream, stream.run)
    return encode(result)


class Framing:
    """Decides whether the values of one stream become typed events.

    Args:
        begin: Makes the log typed, and returns the framer.

    Attributes:
        framer: Encodes values as events; None while values are plain chunks.
    """

    __slots__ = ("_begin", "framer")

    def __init__(self, begin: Callable[[], EncodedFramer], *, typed: bool) -> None:
        self._begin = begin
        self.framer = begin() if typed else None

    def begins_with(self, value: Any) -> bool:
        """Return whether the stream is typed from this value on: the first one that is not text is an event."""
        from ppio_agent_models._framing import is_event_object  # needed once in a stream, and never for text

        if is_event_object(value):
            self.framer = self._begin()
        return self.framer is not None


async def _produce_async(stream: Any, log: EventLog, framing: Framing) -> None:
    put, only_text, framer = log.put, framing.framer is None, framing.framer
    try:
        async for value in stream if hasattr(type(stream), "__aiter__") else _each(stream):
            if only_text and not isinstance(value, str):
                only_text = False
                log.only_text = framing.begins_with(value)
                framer = framing.framer
            if framer is not None:
                may_go_on = put_all(log, framer.encode(value))
            else:
                chunk = encode(value)
                may_go_on = put(chunk if chunk.isascii() else one_line(chunk))
            if not may_go_on:
                if log.ended:  # stopped, and the generator swallowed its cancellation: close it at this yield
                    return
                await log.room()
    finally:
        close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
        closing = close() if close is not None else None
        if isinstance(closing, Awaitable):
            await closing


def put_all(log: EventLog, chunks: list[bytes]) -> bool:
    """Add encoded chunks; return whether the producer may continue at once."""
    may_go_on = not log.ended
    for chunk in chunks:
        may_go_on = log.put(chunk)
    return may_go_on


async def _each(stream: Any) -> AsyncIterator[Any]:
    with suppress(StopAsyncIteration):
        while True:
            yield await stream.__anext__()


def _pulled(iterator: Any) -> Iterator[Any]:
    while (value := next(iterator, _END)) is not _END:
        yield value


class ThreadedStream:
    """The values of a plain iterator, made by one thread, which waits only for room in the log.

    Values go through a deque, which two threads can use without a lock. The loop is woken only if no wake-up is
    pending: one wake-up serves all values made since.

    Args:
        iterator: The iterator.
        context: The context of the invocation.
        workers: The pool of its thread; while it waits for room, it doesn't count as busy.
        loop: The event loop of the log.
    """

    def __init__(
        self, iterator: Any, context: RequestContext, workers: WorkerThreads, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._iterator = iterator
        self._context = context
        self._workers = workers
        self._loop = loop
        self._log: EventLog | None = None
        self._framing: Framing | None = None
        self._report: Callable[[bytes], None] | None = None
        self._ready: deque[Any] = deque()  # encoded chunks; progress reports are in a tuple
        self._permits: SimpleQueue[bool] = SimpleQueue()  # True: make a batch of values; False: close
        self._waiter: asyncio.Future[None] | None = None
        self._is_notified = False
        self._is_abandoned = False
        self._is_over = False
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make values on demand until the iterator ends or is closed. Occupies a thread until then."""
        try:
            while self._is_permitted() and self._make_batch():
                pass
        except BaseException as error:  # noqa: BLE001  # raised again by `produce_into`
            self._error = error
        try:
            if (close := getattr(self._iterator, "close", None)) is not None:
                close()  # in this thread, because a `finally` block of the generator may depend on it
        except BaseException as error:  # noqa: BLE001  # the same
            self._error = self._error or error
        self._is_over = True
        self._call_soon(self._look)

    async def produce_into(self, log: EventLog, framing: Framing) -> None:
        """Put the thread's values into the log; see `produce`. A cancel closes the iterator at its next value."""
        self._log, self._framing = log, framing
        if self._context.reporter is not None:  # so that progress stays in order with the chunks
            self._report = self._context.reporter
            self._context.reporter = self._hand_over_report
        try:
            while True:
                self._waiter = self._loop.create_future()
                self._permits.put(True)
                await self._waiter
                if self._is_over:
                    break
                await log.room()
        finally:
            self.abandon()
        if self._error is not None:
            raise self._error

    def abandon(self) -> None:
        """Close the iterator, at its next value if it is running. May be called any number of times."""
        self._is_abandoned = True
        self._permits.put(False)

    def _is_permitted(self) -> bool:
        """Wait for permission to make a batch; False to close."""
        with suppress(Empty):
            return self._permits.get_nowait()
        with self._workers.suspended():
            return self._permits.get()

    def _make_batch(self) -> bool:
        """Make values until the iterator ends or is abandoned (False), or the batch is full (True)."""
        log, framing, add = self._log, self._framing, self._ready.append
        assert log is not None
        assert framing is not None
        count = size = 0
        if self._is_abandoned:
            return False
        for value in self._iterator if hasattr(type(self._iterator), "__iter__") else _pulled(self._iterator):
            if log.only_text and framing.framer is None and not isinstance(value, str):
                log.only_text = framing.begins_with(value)
            if framing.framer is not None:
                for chunk in framing.framer.encode(value):
                    add(chunk)
                    count, size = count + 1, size + len(chunk)
            else:
                chunk = encode(value)
                if not chunk.isascii():
                    chunk = one_line(chunk)
                add(chunk)
                count, size = count + 1, size + len(chunk)
            if self._is_abandoned:
                return False
            if count >= MAX_CHUNKS or size >= MAX_BYTES:
                self._call_soon(self._look)
                return True
            if not self._is_notified:
                self._notify()
        return False

    def _hand_over_report(self, value: bytes) -> None:
        self._ready.append((value,))
        if not self._is_notified:
            self._notify()

    def _notify(self) -> None:
        self._is_notified = True
        self._call_soon(self._flush)

    def _call_soon(self, callback: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has been closed: the stream is abandoned with it
            self._loop.call_soon_threadsafe(callback)

    def _look(self) -> None:
        self._flush()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _flush(self) -> None:
        """Move the ready values into the log. Runs on the loop."""
        self._is_notified = False
        ready, log = self._ready, self._log
        while ready and log is not None:
            item = ready.popleft()
            if type(item) is tuple:
                assert self._report is not None
                self._report(item[0])
            else:
                log.put(item)
