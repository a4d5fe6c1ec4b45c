"""A stream of an agent's chunks, from the first to the closing word."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from ppio_agent_models import InvocationResponse, NetworkError, StreamInterruptedError

from .._io import _async as io
from .._rules.limits import Limits
from .._rules.responses import request_id_of, response_of
from .._rules.streaming import Chunk, StreamDecoder, is_event_stream, number_of

if TYPE_CHECKING:
    from ._transport import Answer


class StreamSource(Protocol):
    """Where a stream comes from, and what has to be done after it."""

    @property
    def limits(self) -> Limits:
        """The time limits of the stream, counted from its opening; there are none before."""
        ...

    async def open(self) -> Answer:
        """Send the request and return the answer to it."""
        ...

    async def explain(self, error: NetworkError | StreamInterruptedError) -> None:
        """Raise what is really the matter with a lost stream, where that is known."""
        ...

    async def close(self) -> None:
        """Do what has to be done when the stream is over; called once."""
        ...


class InvocationStream:
    """What an agent yields, decoded, one chunk at a time.

    The request is sent by `async with`, or by the first step of an iteration. Leaving the `async with` block, or a loop
    that is not inside one, closes the connection; the agent then stops. Errors are exceptions: before the first chunk
    those of an ordinary call, later the agent's error or `StreamInterruptedError`.

    Attributes:
        request_id: The id to quote when asking about this call, once the answer has begun.
        received: How many chunks were handed out.
    """

    def __init__(self, source: StreamSource) -> None:
        self._source = source
        self._chunks: deque[Chunk] = deque()
        self._decoder: StreamDecoder | None = None
        self._parts: AsyncGenerator[bytes, None] | None = None
        self._envelope: InvocationResponse | None = None
        self._event_id: bytes | None = None
        self._entered = False
        self._closed = False
        self.request_id: str | None = None
        self.received = 0

    @property
    def done(self) -> InvocationResponse | None:
        """The envelope that closed the stream, without a result; None before, and where the server sends none."""
        return self._envelope

    @property
    def last_event_id(self) -> int:
        """The number of the last chunk that was handed out; 0 where there is none."""
        return number_of(self._event_id) or 0

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
        if not self._chunks and not await self._fill():
            raise StopAsyncIteration
        value, self._event_id = self._chunks.popleft()
        self.received += 1
        return value

    async def open(self) -> None:
        """Send the request and wait for the begin of the answer; a stream that is open stays as it is.

        Raises:
            PPIOAgentRuntimeError: As for an ordinary call.
        """
        if self._decoder is not None or self._closed:
            return
        try:
            await self._begin(await self._source.open())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection, if it is open; the agent stops. What was received already can still be read."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._parts is not None:
                await self._parts.aclose()
        finally:
            await self._source.close()

    aclose = close  # async-only: the name that contextlib.aclosing knows

    async def _own_loop(self) -> AsyncIterator[Any]:
        """Iterate, and close when the loop is left: there is no `async with` block that would."""
        try:
            while self._chunks or await self._fill():
                yield await self.__anext__()
        finally:
            await self.close()

    async def _begin(self, answer: Answer) -> None:
        self.request_id = request_id_of(answer.headers)
        self._decoder = StreamDecoder(answer.headers)
        if 200 <= answer.status < 300 and is_event_stream(answer.headers):
            self._parts = answer.parts()
            return
        # An error, or an agent that answers with one value whatever it is asked for: one chunk.
        body = await answer.read()
        self._envelope = response_of(answer.status, answer.headers, body, unix_now=io.unix_now())
        self._chunks.append((self._envelope.result, None))
        await self.close()

    async def _fill(self) -> bool:
        """Read until there is a chunk. Return False at the end of the stream."""
        await self.open()
        try:
            while not self._chunks:
                if self._closed or not await self._read_on():
                    await self.close()
                    return bool(self._chunks)
        except (NetworkError, StreamInterruptedError) as error:
            await self.close()
            await self._source.explain(error)
            raise
        except BaseException:
            await self.close()
            raise
        return True

    async def _read_on(self) -> bool:
        """Decode what comes next. Return False when there is no more."""
        assert self._decoder is not None
        if self._decoder.error is not None:
            raise self._decoder.error
        if self._decoder.done is not None:
            self._envelope = self._decoder.done
            await self._next_part()  # the end of the body, which leaves the connection fit for the next call
            return False
        part = await self._next_part()
        if part is None:
            self._decoder.finish(received=self.received, last_event_id=self.last_event_id)
            return False
        self._chunks.extend(self._decoder.feed(part))
        return True

    async def _next_part(self) -> bytes | None:
        assert self._decoder is not None
        assert self._parts is not None
        limits = self._source.limits
        try:
            if limits.deadline is None:
                return await anext(self._parts, None)
            async with io.Until(limits.deadline, limits.total):
                return await anext(self._parts, None)
        except NetworkError as error:
            if type(error) is not NetworkError:
                raise  # a time limit, which says more
            raise self._decoder.interrupted(received=self.received, last_event_id=self.last_event_id) from error
