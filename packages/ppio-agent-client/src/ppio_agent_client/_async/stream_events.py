"""Buffers the events of a stream between reader and caller, so that the caller can stop waiting and continue later."""

from __future__ import annotations

from collections import deque
from typing import Any

from ppio_agent_models import (
    NetworkError,
    PPIOAgentRuntimeError,
    StreamInterruptedError,
    TotalTimeoutError,
)

from .._core.streaming import CHUNK, Event, number_of
from .._core.typed_results import fitted
from .._io import _async as io
from .event_reader import EventReader
from .stream_source import EventsSource

_MAX_AHEAD = 16
"""How many events may be buffered before reading pauses."""


class StreamEvents:
    """The events that were read but not returned yet, and the pump that reads more.

    It has no references to the caller's stream objects, so that these can be garbage-collected while it reads.

    Attributes:
        event_id: The ID of the event that was returned last.
        received: How many chunks were returned.
        closed: Whether nothing more is read.
    """

    def __init__(self, source: EventsSource, chunk_type: type[Any] | None = None) -> None:
        self.reader = EventReader(source)
        self.source = source
        self.event_id: bytes | None = None
        self.received = 0
        self.closed = False
        self._chunk_type = chunk_type
        self._waiting: deque[Event] = deque()
        self._pump = io.Pump()
        self._place: object | None = None
        self._is_open = False
        self._over = False
        self._cut_short = False
        self._is_ending = False
        self._error: Exception | None = None
        self._reason: BaseException | None = None

    async def open(self) -> None:
        """Send the request, and wait for the start of the response. If cancelled, it closes the stream."""
        try:
            while not self._is_open and (not self.closed or self._is_ending):
                await self._pump.more(self._read, self._is_full)
            if not self._is_open:  # otherwise the error is raised after the events that were read before it
                self._raise_error()
        except BaseException as error:
            self._cut_short = not isinstance(error, PPIOAgentRuntimeError)
            self._reason = self._reason or error
            await self.close()
            raise

    async def chunk(self) -> Any:
        """Return the next chunk.

        Raises:
            StopAsyncIteration: There is none.
        """
        waiting = self._waiting
        while waiting or await self._fill():
            kind, value, self.event_id = waiting.popleft()
            if kind == CHUNK:
                self.received += 1
                return value if self._chunk_type is None else self._typed(value)
        raise StopAsyncIteration

    async def event(self) -> Event | None:
        """Return the next event, chunk or not; None at the end."""
        if not self._waiting and not await self._fill():
            return None
        event = kind, value, self.event_id = self._waiting.popleft()
        if kind == CHUNK:
            self.received += 1
            return event if self._chunk_type is None else (kind, self._typed(value), self.event_id)
        return event

    async def batch(self) -> list[Event]:
        """Return all available events, waiting for the first; an empty list at the end."""
        if not self._waiting and not await self._fill():
            return []
        events = list(self._waiting)
        self._waiting.clear()
        self.event_id = events[-1][2]
        self.received += [kind for kind, _, _ in events].count(CHUNK)
        return events

    def _typed(self, value: Any) -> Any:
        assert self._chunk_type is not None
        what = f"chunk {self.received}"
        return fitted(value, self._chunk_type, what=what, request_id=self.reader.request_id)

    async def close(self) -> None:
        """Leave the stream; before its end, this cancels the invocation. Received events can still be read."""
        if self.closed:
            if self._is_ending:
                await self._pump.end(stop=False)
            return
        self.closed = True
        try:
            if self._is_open or not self._pump.is_awaited:  # else it leaves when it knows what to cancel
                await self._pump.end(stop=True)
            await self._leave()
        finally:
            await self.source.close(self._reason, self.reader.chunks)

    def let_go(self) -> None:
        """Close the stream after it was garbage-collected."""
        if self._place is not None and not self.closed:
            io.let_go(self._place, self.close)

    async def _leave(self) -> None:
        was_over = self._over  # before closing, because a concurrent reader then sets it
        await self.reader.close()
        if self.reader.can_be_abandoned and not was_over:
            await self.source.abandon(self.reader.invocation_id or "")

    async def _fill(self) -> bool:
        """Read until there is an event. Return False at the end of the stream."""
        if self._cut_short:  # cut before it began: it must not look like a complete stream
            raise self.reader.interrupted()
        while not self._waiting and (not self.closed or self._is_ending):
            try:
                await self._pump.more(self._read, self._is_full)
            except io.AbandonedError as error:
                raise self.reader.interrupted() from error
        if not self._waiting:
            self._raise_error()
        return bool(self._waiting)

    def _is_full(self) -> bool:
        return len(self._waiting) >= _MAX_AHEAD

    async def _read(self) -> bool:
        """Open the stream, or read more of it. Return whether there may be more events."""
        try:
            if not self._is_open:
                self._place = io.place()
                await self.reader.open()
                self._is_open = True
                if self.closed:  # meanwhile, before the invocation ID was known
                    await self._leave()
                return not self.closed
            events = await self.reader.more()
        except Exception as error:
            if io.is_limit_of_caller(error):
                self.reader.interrupt(self._last_read)
                self._is_open = True
                raise
            self._is_ending = True
            self._error = await self._failed(error)
            self._is_ending = False
            return False
        except BaseException as error:
            self._reason = error
            await self.close()
            raise
        self._waiting.extend(events)
        if not events:
            self._over = self._is_ending = True  # The end is reported after everything is closed.
            await self.close()
            self._is_ending = False
        return bool(events)

    @property
    def _last_read(self) -> int:
        """The number of the last event that was read completely."""
        return number_of(self._waiting[-1][2] if self._waiting else self.event_id) or self.source.after

    async def _failed(self, error: Exception) -> Exception:
        """Close the failed stream, and return the error to raise. An invocation that may continue isn't cancelled."""
        self._reason = error
        self._over = isinstance(error, PPIOAgentRuntimeError) and not isinstance(error, TotalTimeoutError)
        await self.close()
        if isinstance(error, NetworkError | StreamInterruptedError):
            try:
                await self.source.explain(error)
            except PPIOAgentRuntimeError as reason:
                return reason
        return error

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error
