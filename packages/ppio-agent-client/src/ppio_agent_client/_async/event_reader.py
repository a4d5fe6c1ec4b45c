"""Reads the events of one invocation, over as many connections as needed: each exactly once, in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import (
    IdleTimeoutError,
    NetworkError,
    PPIOAgentRuntimeError,
    StreamInterruptedError,
    TotalTimeoutError,
)

from .._core.responses import invocation_id_of, request_id_of, response_of, speaks_protocol, was_replayed
from .._core.retry import RetryAction, after_return, is_own_end, may_resume
from .._core.streaming import CHUNK, Event, StreamDecoder, has_typed_events, is_event_stream, number_of
from .._io import _async as io

if TYPE_CHECKING:
    from .stream_source import EventsSource
    from .transport import Answer

_END_SECONDS = 1.0
"""How long the end of a body may take after its closing event, before the connection is closed."""


class EventReader:
    """Reads events, and resumes at the last one when a connection is cut.

    `envelope` is that of the closing event, once it arrived; `chunks` counts chunks. Others: see `InvocationStream`.
    """

    def __init__(self, source: EventsSource) -> None:
        self._source = source
        self._decoder: StreamDecoder | None = None
        self._answer: Answer | None = None
        self._parts: AsyncGenerator[bytes, None] | None = None
        self._lost: NetworkError | None = None
        self._closed = False
        self._numbered = False
        self._position = source.after
        self._failures = 0
        self.request_id: str | None = None
        self.invocation_id: str | None = None
        self.replayed = False
        self.typed = False
        self.envelope: models.InvocationResponse | None = None
        self.chunks = 0

    @property
    def can_be_abandoned(self) -> bool:
        """Whether there is an invocation that would keep running without its reader."""
        return self._numbered and self.invocation_id is not None and not self._has_ended

    @property
    def _has_ended(self) -> bool:
        return self.envelope is not None or (self._decoder is not None and self._decoder.ended)

    @property
    def end_id(self) -> int | None:
        """The number of the closing event; None if events have no numbers."""
        return None if self._decoder is None else number_of(self._decoder.position)

    async def open(self) -> None:
        """Wait for the start of the response.

        Raises:
            PPIOAgentRuntimeError: As for an ordinary call.
        """
        try:
            await self._open()
        except PPIOAgentRuntimeError as error:
            if not self._source.begins:
                error.retryable = False  # The agent may have run, whatever the error says.
            raise

    async def _open(self) -> None:
        answer = await self._source.open()
        self.request_id = request_id_of(answer.headers)
        self.invocation_id = invocation_id_of(answer.headers)
        self.replayed = was_replayed(answer.headers)
        self.typed = has_typed_events(answer.headers)
        self._numbered = speaks_protocol(answer.headers)
        if 200 <= answer.status < 300 and is_event_stream(answer.headers):
            self._answer, self._parts = answer, answer.parts()
            self._decoder = StreamDecoder(
                answer.headers, after=self._position or None, max_event_bytes=self._source.max_event_bytes
            )
            return
        # An error, or an agent that returns a value although a stream was requested: that is one chunk.
        body = await answer.read()
        response = response_of(answer.status, answer.headers, body, unix_now=io.unix_now())
        self.envelope = response._known_as(self.invocation_id, replayed=self.replayed)

    async def more(self) -> list[Event]:
        """Return the next events, at least one; an empty list at the end.

        Raises:
            PPIOAgentRuntimeError: The agent's error, or `StreamInterruptedError`.
        """
        if self._decoder is None:
            return self._only_value()
        if self._lost is not None and not self._has_ended:
            lost, self._lost = self._lost, None
            await self._go_on(lost, self._decoder)
        while self._parts is not None and self.envelope is None:
            if events := await self._read(self._decoder):
                return events
        return []

    async def close(self) -> None:
        """Close the connection, if there is one, and don't resume."""
        self._closed = True
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._answer is not None and self._parts is not None:
            await self._answer.close()
            with suppress(RuntimeError, ValueError):  # a reader in another task finds the connection closed
                await self._parts.aclose()

    def interrupt(self, position: int) -> None:
        """Record that the caller's exception interrupted the reading after event number `position`."""
        self._position = position
        self._lost = NetworkError("the caller stopped waiting in the middle of a read")

    def interrupted(self) -> StreamInterruptedError:
        """Return the error for a stream that was left before its end."""
        return self._cut_error(f"the stream was left after {self.chunks} chunks (last event {self._position})")

    def _only_value(self) -> list[Event]:
        if self.envelope is None and self._lost is not None:
            raise self.interrupted() from self._lost  # a value can't be resumed
        if self.envelope is None or self.chunks:
            return []
        self.chunks = 1
        return [(CHUNK, self.envelope.result, None)]

    async def _read(self, decoder: StreamDecoder) -> list[Event]:
        """Return the events in the next part of the response, perhaps none."""
        if decoder.error is not None:
            raise decoder.error
        if decoder.done is not None:
            self.envelope = decoder.done._known_as(self.invocation_id, replayed=self.replayed)
            assert self._answer is not None
            await self._answer.finish(_END_SECONDS)  # all events have arrived
            return []
        try:
            part = await self._part()
            if part is None:
                decoder.finish()
                self._parts = None
                return []
        except NetworkError as lost:
            await self._go_on(lost, decoder)
            return []
        events = decoder.feed(part)
        if events or decoder.ended:
            self._failures = 0
            self._position = number_of(decoder.position) or self._position
            self.chunks += [kind for kind, _, _ in events].count(CHUNK)
        return events

    async def _part(self) -> bytes | None:
        assert self._parts is not None
        limits = self._source.limits
        if limits.deadline is None:
            return await anext(self._parts, None)
        async with io.Until(limits.deadline, limits.total):
            return await anext(self._parts, None)

    async def _go_on(self, lost: NetworkError, decoder: StreamDecoder) -> None:
        """Resume over another connection.

        Raises:
            StreamInterruptedError: The stream cannot be resumed.
            NetworkError: A time limit has passed.
        """
        error = self._cut(lost)
        survives = self._source.survives
        if self._closed or not may_resume(
            lost, invocation_id=self.invocation_id, numbered=self._numbered, survives=survives
        ):
            raise error
        await self._hang_up()
        if isinstance(lost, IdleTimeoutError):
            await self._source.explain(lost)  # if its sandbox is paused, further attempts would wait in vain
        answer: Answer | None = None
        while not self._closed:
            pause = self._source.pause(self._failures, answer)
            if pause is None:
                raise error if answer is None else await self._refusal(answer)
            self._failures += 1
            await io.sleep(pause)
            answer = await self._come_back(error)
            if answer is not None and after_return(answer.status, answer.headers) is RetryAction.RESUME:
                if self._closed:
                    await answer.close()
                    break
                self._answer, self._parts = answer, answer.parts()
                # It keeps the first response's headers: the ID to quote is that of the call.
                self._decoder = decoder.resumed(self._position)
                return
        raise error

    async def _come_back(self, error: NetworkError | StreamInterruptedError) -> Answer | None:
        """Return the response to one attempt, also if it is a refusal; None if there was none.

        Raises:
            PPIOAgentRuntimeError: No further attempt can succeed.
        """
        assert self.invocation_id is not None
        outcome = await self._source.read_on(self.invocation_id, self._position, self._failures)
        if isinstance(outcome, NetworkError):
            if isinstance(outcome, TotalTimeoutError):
                raise outcome
            await self._source.explain(error)
            return None
        if after_return(outcome.status, outcome.headers) is not RetryAction.GIVE_UP:
            return outcome
        raise await self._refusal(outcome)

    async def _refusal(self, answer: Answer) -> PPIOAgentRuntimeError:
        """Return the error for a response that is not the rest of the stream."""
        body = await answer.read()
        try:
            response_of(answer.status, answer.headers, body, unix_now=io.unix_now())
        except PPIOAgentRuntimeError as refusal:
            refusal.retryable = False  # that is about the resumption; the agent has run already
            if is_own_end(refusal, answer.headers):
                return refusal
            error = self._lost_for_good(str(refusal))
            error.__cause__ = refusal
            return error
        return self._lost_for_good("another server responded")

    def _cut(self, lost: NetworkError) -> NetworkError | StreamInterruptedError:
        """Return the error for a cut that cannot be resumed."""
        if type(lost) is not NetworkError:
            return lost  # a time limit, which is more specific
        error = self._cut_error(
            f"the stream was cut after {self.chunks} chunks (last event {self._position}); the agent may have continued"
        )
        error.__cause__ = lost
        return error

    def _lost_for_good(self, reason: str) -> StreamInterruptedError:
        return self._cut_error(
            f"the stream was cut after {self.chunks} chunks (last event {self._position}) and cannot be resumed: "
            f"{reason}"
        )

    def _cut_error(self, message: str) -> StreamInterruptedError:
        return StreamInterruptedError(
            message, last_event_id=self._position, received=self.chunks, request_id=self.request_id
        )
