"""A stream of an agent's chunks, from the first to the closing word."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Literal, Self, cast

import ppio_agent_models as models
from ppio_agent_models import NetworkError, PPIOAgentRuntimeError, StreamInterruptedError, TotalTimeoutError

from .._core.streaming import CHUNK, Event, number_of
from .event_reader import EventReader
from .stream_source import EventsSource


class InvocationStream:
    """What an agent yields, decoded, one chunk at a time.

    The request is sent by `async with`, or by the first step of an iteration. A connection that is cut is replaced by
    another, and each chunk comes exactly once. Leaving the `async with` block, or a loop that is not inside one, before
    the end cancels the invocation; a stream of `InvocationHandle.events` only stops reading. Errors are exceptions:
    before the first chunk those of an ordinary call, later the agent's error or `StreamInterruptedError`.

    Attributes:
        received: How many chunks were handed out.
    """

    def __init__(self, source: EventsSource) -> None:
        self._source = source
        self._reader = EventReader(source)
        self._waiting: deque[Event] = deque()
        self._event_id: bytes | None = None
        self._opened = False
        self._entered = False
        self._over = False
        self._closed = False
        self.received = 0

    @property
    def request_id(self) -> str | None:
        """The id to quote when asking about this call, once the answer has begun."""
        return self._reader.request_id

    @property
    def invocation_id(self) -> str | None:
        """The id to find the invocation by, once the answer has begun; None where the server has none."""
        return self._reader.invocation_id

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same idempotency key has begun this invocation."""
        return self._reader.replayed

    @property
    def done(self) -> models.InvocationResponse | None:
        """The envelope that closed the stream, without a result; None before, and where the server sends none."""
        return self._reader.envelope

    @property
    def last_event_id(self) -> int:
        """The number of the last event that was handed out; before the first, where the stream began."""
        return number_of(self._event_id) or self._source.after

    async def __aenter__(self) -> Self:
        self._entered = True
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self if self._entered else self._own_loop()

    async def __anext__(self) -> Any:
        waiting = self._waiting
        while waiting or await self._fill():
            kind, value, self._event_id = waiting.popleft()
            if kind == CHUNK:
                self.received += 1
                return value
        raise StopAsyncIteration

    async def events(self) -> AsyncIterator[models.StreamEvent]:
        """Iterate over everything that the agent says: chunks, what it reports as progress, and the closing envelope.

        Leaving the loop closes the stream, unless that is done by an `async with` block around it.
        """
        try:
            while self._waiting or await self._fill():
                kind, value = self._take()
                yield models.StreamEvent(cast(Literal["chunk", "progress"], kind), value, number_of(self._event_id))
            if self.done is not None:
                yield models.StreamEvent("done", self.done.model_dump())
        finally:
            if not self._entered:
                await self.close()

    async def open(self) -> None:
        """Send the request and wait for the begin of the answer; a stream that is open stays as it is.

        Raises:
            PPIOAgentRuntimeError: As for an ordinary call.
        """
        if self._opened or self._closed:
            return
        self._opened = True
        try:
            await self._reader.open()
        except BaseException:
            await self.close()
            raise
        if self._closed:  # meanwhile, when nobody knew yet what the invocation is called
            await self._leave()

    async def close(self) -> None:
        """Leave the stream; before its end, this cancels the invocation. What was received can still be read."""
        if self._closed:
            return
        self._closed = True
        try:
            await self._leave()
        finally:
            await self._source.close()

    aclose = close  # async-only: the name that contextlib.aclosing knows

    async def _leave(self) -> None:
        was_over = self._over  # whoever reads meanwhile finds the connection closed, and says that it is over
        await self._reader.close()
        if self._reader.can_be_abandoned and not was_over:
            await self._source.abandon(self._reader.invocation_id or "")

    async def _own_loop(self) -> AsyncIterator[Any]:
        """Iterate, and close when the loop is left: there is no `async with` block that would."""
        try:
            while self._waiting or await self._fill():
                kind, value = self._take()
                if kind == CHUNK:
                    yield value
        finally:
            await self.close()

    def _take(self) -> tuple[str, Any]:
        kind, value, self._event_id = self._waiting.popleft()
        self.received += kind == CHUNK
        return kind, value

    async def _fill(self) -> bool:
        """Read until there is something. Return False at the end of the stream."""
        await self.open()
        if self._closed:
            return False
        try:
            self._waiting.extend(await self._reader.more())
        except BaseException as error:
            await self._fail(error)
            raise
        if not self._waiting:
            self._over = True
            await self.close()
        return bool(self._waiting)

    async def _fail(self, error: BaseException) -> None:
        """Close what failed. An invocation that may go on is left alone: its handle can still be asked."""
        limit_of_caller = isinstance(error, TotalTimeoutError)
        self._over = isinstance(error, PPIOAgentRuntimeError) and not limit_of_caller
        await self.close()
        if isinstance(error, NetworkError | StreamInterruptedError):
            await self._source.explain(error)
