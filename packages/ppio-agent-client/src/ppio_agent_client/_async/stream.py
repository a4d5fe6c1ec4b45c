"""A stream of an agent's chunks, from the first one to the closing event."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Generic, Literal, Self, cast

from typing_extensions import TypeVar

import ppio_agent_models as models
from ppio_agent_models import PPIOAgentRuntimeError, StreamInterruptedError
from ppio_agent_models._framing import EventFramer

from .._core.relay import HEARTBEAT_SECONDS, JsonLines, ServerSentEvents, checked_heartbeat
from .._core.streaming import CHUNK, Event, number_of
from .._io import _async as io
from .stream_events import StreamEvents
from .stream_source import EventsSource

Chunk = TypeVar("Chunk", default=Any)
Item = TypeVar("Item")


class InvocationStream(io.OneKind, Generic[Chunk]):
    """What an agent yields, decoded, one chunk at a time.

    `async with`, or the first step of an iteration, sends the request. If the connection is cut, the stream resumes
    over another one, and each chunk arrives exactly once. If a time limit of your own stops a step, nothing is lost:
    the next step continues. Leaving the `async with` block, or a loop that isn't inside one, before the end cancels the
    invocation; a stream of `InvocationHandle.events` only stops reading. Errors are raised: before the first chunk
    those of an ordinary call, later the agent's error or `StreamInterruptedError`.
    """

    def __init__(self, source: EventsSource, chunk_type: type[Chunk] | None = None) -> None:
        self._events = StreamEvents(source, chunk_type)
        self._reader = self._events.reader
        self._entered = False

    @property
    def received(self) -> int:
        """How many chunks were returned so far."""
        return self._events.received

    @property
    def request_id(self) -> str | None:
        """The request ID, to quote when you report a problem with this call; known once the response has begun."""
        return self._reader.request_id

    @property
    def invocation_id(self) -> str | None:
        """The ID of the invocation, once the response has begun; None if the server has none."""
        return self._reader.invocation_id

    @property
    def replayed(self) -> bool:
        """Whether an earlier request with the same idempotency key started this invocation."""
        return self._reader.replayed

    @property
    def done(self) -> models.InvocationResponse | None:
        """The envelope that closed the stream, without a result; None before that, or if the server sends none."""
        return self._reader.envelope

    @property
    def last_event_id(self) -> int:
        """The number of the last event that was returned; before the first one, that of where the stream began."""
        return number_of(self._events.event_id) or self._events.source.after

    async def __aenter__(self) -> Self:
        self._entered = True
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self if self._entered else Loop(self, self._events.chunk)

    async def __anext__(self) -> Chunk:
        events = self._events
        try:
            chunk: Chunk = await events.chunk()
            return chunk
        finally:
            del self  # a traceback must not keep the stream alive, as it is closed when it is dropped

    def __del__(self) -> None:
        self._events.let_go()

    def events(self) -> AsyncIterator[models.StreamEvent]:
        """Iterate over all events of the stream: chunks, progress, and the closing envelope.

        Leaving the loop closes the stream, unless an `async with` block around it does.
        """
        return Loop(self, TypedEvents(self._events).next)

    def sse(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> AsyncIterator[bytes]:
        """Yield the stream for a browser: the body of a `StreamingResponse` with `media_type="text/event-stream"`.

        Chunks are messages whose `data` is JSON; progress is an event of that name. It ends with the event `done` or
        `error`, at which the page should close its `EventSource`. To resume, pass the `Last-Event-ID` of the browser,
        or the `event.lastEventId` that the page has kept, to `session.stream(last_event_id=...)`. If the browser
        disconnects, the invocation is cancelled, unless it was started with `on_disconnect="continue"`.

        Args:
            heartbeat_seconds: How often a silent stream sends a comment, so that no proxy in between closes it.
        """
        return Relay(_relayed(self, ServerSentEvents(), checked_heartbeat(heartbeat_seconds)))

    def ndjson(self, *, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> AsyncIterator[bytes]:
        """Yield the stream as lines of JSON (`application/x-ndjson`), each with `kind`, `data` and `event_id`.

        Kinds are `chunk`, `progress`, `heartbeat`, and at the end `done` or `error`. Everything else is as for `sse`.
        """
        return Relay(_relayed(self, JsonLines(), checked_heartbeat(heartbeat_seconds)))

    async def _batch(self) -> list[Event]:
        """Return all events that are there, waiting for one; an empty list at the end."""
        return await self._events.batch()

    async def open(self) -> None:
        """Send the request and wait for the start of the response; does nothing if the stream is already open.

        Raises:
            PPIOAgentRuntimeError: As for an ordinary call.
        """
        await self._events.open()

    async def close(self) -> None:
        """Close the stream; before its end, this cancels the invocation. What was received can still be read."""
        await self._events.close()

    aclose = close  # async-only: the name that contextlib.aclosing knows


class AgentEventStream(InvocationStream):
    """The typed events of a run (AG-UI 1.0), one at a time: see `AgentEvent` and its subclasses.

    Everything else is as for `InvocationStream`. If an agent has no typed events, its text arrives as text messages,
    any other chunk as a `CustomEvent` named `ppio.chunk`.
    """

    def __init__(self, source: EventsSource) -> None:
        super().__init__(source)
        self._ready: deque[dict[str, Any]] = deque()
        self._framer: EventFramer | None = None
        self._has_begun = False  # then the first value has decided whether chunks must be framed

    def __aiter__(self) -> AsyncIterator[models.AgentEvent]:
        return self if self._entered else Loop(self, self._next)

    async def __anext__(self) -> models.AgentEvent:
        try:
            return await self._next()
        finally:
            del self  # as in the base class

    async def _next(self) -> models.AgentEvent:
        while not self._ready:
            try:
                value = await self._events.chunk()
            except StopAsyncIteration:
                if self._framer is None or self._framer.is_over:
                    raise
                self._ready.extend(self._framer.finish())
            else:
                self._ready.extend(self._framed(value))
        return models.AgentEvent.parse(self._ready.popleft())

    async def _batch(self) -> list[Event]:
        framed: list[Event] = []
        while not framed:
            batch = await self._events.batch()
            for kind, value, event_id in batch:
                events = (
                    [(CHUNK, event, None) for event in self._framed(value)] if kind == CHUNK else [(kind, value, None)]
                )
                framed += (
                    [*events[:-1], (*events[-1][:2], event_id)] if events else []
                )  # The last of its frames has the ID, so a resume loses none.
            if not batch:
                if self._framer is None or self._framer.is_over:
                    break
                framed = [(CHUNK, event, None) for event in self._framer.finish()]
        return framed

    def _framed(self, value: Any) -> list[dict[str, Any]]:
        """Return the events for a chunk, which is an event already if the agent sends typed ones."""
        if not self._has_begun:
            self._has_begun = True
            if not (self._reader.typed and isinstance(value, dict)):
                run_id = self._reader.invocation_id or ""
                self._framer = EventFramer(self._events.source.session_id, run_id, run_id[:16] or "message")
        return [value] if self._framer is None else self._framer.frame(value)


class Loop(io.OneKind, Generic[Item]):
    """The iterator of a loop: it closes the stream, unless an `async with` block around it does."""

    def __init__(self, stream: InvocationStream[Any], step: Callable[[], Awaitable[Item]]) -> None:
        self._stream = stream
        self._step = step

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        step = self._step
        try:
            return await step()
        finally:
            del self  # as in `InvocationStream`

    async def aclose(self) -> None:
        """Close the stream, unless a block around the loop does."""
        if not self._stream._entered:
            await self._stream.close()

    def __del__(self) -> None:
        if not self._stream._entered:
            self._stream._events.let_go()


class Relay:
    """What a stream is relayed with. A step that the caller's own time limit ends, ends it: the next one says so."""

    def __init__(self, steps: AsyncGenerator[bytes, None]) -> None:
        self._steps = steps
        self._was_left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._was_left:
            raise StreamInterruptedError(
                "the stream was left in the middle of a step, which ended it; put no time limit around a step of sse() "
                "or ndjson(), or read the stream itself"
            )
        self._was_left = True
        try:
            data = await self._steps.__anext__()
        except StopAsyncIteration:
            self._was_left = False
            raise
        self._was_left = False
        return data

    async def aclose(self) -> None:
        """Close the stream."""
        await self._steps.aclose()


class TypedEvents:
    """The events of a stream for its callers, including the closing envelope."""

    def __init__(self, events: StreamEvents) -> None:
        self._events = events
        self._over = False

    async def next(self) -> models.StreamEvent:
        """Return the next event.

        Raises:
            StopAsyncIteration: There is none.
        """
        event = None if self._over else await self._events.event()
        if event is not None:
            kind, value, event_id = event
            return models.StreamEvent(cast(Literal["chunk", "progress"], kind), value, number_of(event_id))
        reader = self._events.reader
        if self._over or reader.envelope is None:
            raise StopAsyncIteration
        self._over = True
        return models.StreamEvent("done", reader.envelope.model_dump(), reader.end_id)


async def _relayed(
    stream: InvocationStream, form: ServerSentEvents | JsonLines, heartbeat_seconds: float
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes to send for a stream: events, heartbeats, and the closing event.

    A reader that stops leaves the stream, which cancels the invocation unless it should continue.
    """
    steps = io.Steps(stream._batch)
    try:
        while True:
            try:
                batch = await steps.next(heartbeat_seconds)
            except PPIOAgentRuntimeError as error:
                yield form.error(error)
                return
            if batch is None:
                yield form.heartbeat
            elif batch:
                yield form.events(batch, stream.invocation_id)
            else:
                break
        if stream.done is not None:
            yield form.done(stream.done)
    finally:
        await steps.end(stream.close)
