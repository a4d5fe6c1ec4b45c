"""Sources of an invocation's events: a new request to the agent, or the log of an earlier invocation."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ppio_agent_models import NetworkError, PPIOAgentRuntimeError, StreamInterruptedError

from .._core import requests
from .._core.limits import Limits, call_limits, total_seconds
from .._core.relay import position_of
from .._core.request_body import Request, requested_timeout
from .._core.requests import Call, CallOptions, OnDisconnect, Peer
from .._io import _async as io
from .._tracing import CallSpan, note_attempt

if TYPE_CHECKING:
    from .agent_connection import AgentConnection, Explain
    from .transport import Answer

logger = logging.getLogger("ppio_agent_client")

CANCEL_SECONDS: Final = 2.0
"""How long the cancel request of a left stream may take."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """The parts of a session that a call uses.

    Attributes:
        session_id: The session ID.
        connection: The connection to the agent.
        ready: Raises an error if the session cannot be called, because it is closed or paused.
        explain: Raises an error with the cause, if the sandbox is the cause of a network error.
        headers: Headers of all requests of one call, besides those of the session.
    """

    session_id: str
    connection: AgentConnection
    ready: Callable[[], Awaitable[None]]
    explain: Explain
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def peer(self) -> Peer:
        """The agent, with the headers of this call."""
        return self.connection.peer.with_headers(self.headers)

    async def open(self, call: Callable[[], Call], limits: Limits) -> Answer:
        """Return the response to a call, retried if that is safe; unless it is an event stream, its body is read.

        The call is made once the session is ready, because after a resume the URL of its sandbox may have changed.
        """
        try:
            async with io.Until(limits.deadline, limits.total):
                await self.ready()
                return await self.connection.open(call(), limits, self.explain)
        except NetworkError as error:
            await self.explain(error)
            raise

    async def ask(self, call: Callable[[], Call], limits: Limits, operation: str) -> Answer:
        """Return the response to a call without a stream; `operation` is its name in traces."""
        with CallSpan(operation, self.session_id) as span:
            answer = await self.open(call, limits)
            span.answered(answer.status, answer.headers)
            return answer


class EventsSource:
    """The events of an invocation after number `after`. Leaving the stream doesn't cancel the invocation.

    `context` is None until its session exists, and `span` until it is opened. `typed` requests typed events.
    """

    _operation = "read_invocation"

    def __init__(self, context: CallContext | None, invocation_id: str, after: int, *, typed: bool = False) -> None:
        self.context = context
        self.typed = typed
        self._invocation_id = invocation_id
        self.after = after
        self.span: CallSpan | None = None

    @property
    def _context(self) -> CallContext:
        assert self.context is not None
        return self.context

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        return self._context.session_id

    @property
    def survives(self) -> bool:
        """Whether the invocation continues if the connection is cut."""
        return True

    @property
    def begins(self) -> bool:
        """Whether opening the stream starts the invocation; if not, it may have run before."""
        return False

    @cached_property
    def limits(self) -> Limits:
        """The limits, counted from the moment when the stream is opened."""
        return call_limits(self._context.connection.config, None, io.now())

    @property
    def max_event_bytes(self) -> int:
        """Largest event, in bytes."""
        return self._context.connection.config.max_answer_bytes

    async def open(self) -> Answer:
        """Return the start of the stream."""
        self.span = CallSpan(self._operation, self._context.session_id)
        with self.span.active():
            answer = await self._first()
        self.span.answered(answer.status, answer.headers)
        return answer

    async def _first(self) -> Answer:
        limits = self.limits.for_events()
        return await self._context.open(lambda: self._call(self._invocation_id, self.after), limits)

    async def read_on(self, invocation_id: str, after: int, attempt: int) -> Answer | NetworkError:
        """Try to resume after a cut, and return the response or the error; the first attempt is number 1."""
        limits = self.limits.for_events()
        assert self.span is not None
        with self.span.active():
            note_attempt("resume", attempt, last_event_id=after)
            try:
                async with io.Until(limits.deadline, limits.total):
                    return await self._context.connection.attempt(self._call(invocation_id, after), limits)
            except NetworkError as error:
                return error

    def pause(self, failures: int, answer: Answer | None) -> float | None:
        """Return how long to wait before such an attempt; None to give up."""
        return self._context.connection.pause(failures, self.limits, answer)

    async def explain(self, error: NetworkError | StreamInterruptedError) -> None:
        """Raise an error with the cause, if the sandbox is the cause."""
        await self._context.explain(error)

    async def abandon(self, invocation_id: str) -> None:
        """Do nothing: a reader of an invocation doesn't own it."""

    async def close(self, error: BaseException | None, chunks: int) -> None:
        """End the stream's span, with its error and number of chunks."""
        if self.span is not None:
            self.span.end(error, chunks=chunks)

    def _call(self, invocation_id: str, after: int) -> Call:
        return requests.events_call(self._context.peer, invocation_id, after, typed=self.typed)


class InvocationSource(EventsSource):
    """A request to the agent, or with `last_event_id` the continuation of an earlier one.

    Leaving its stream cancels the invocation, unless it should continue.
    """

    _operation = "invoke_agent"

    def __init__(
        self,
        context: CallContext | None,
        request: Request,
        options: CallOptions,
        last_event_id: str | None = None,
        *,
        typed: bool = False,
    ) -> None:
        invocation_id, after = position_of(last_event_id) if last_event_id else ("", 0)
        super().__init__(context, invocation_id, after, typed=typed)
        self._request = request
        self._options = options

    @property
    def survives(self) -> bool:
        """Whether the invocation continues if the connection is cut."""
        return self._options.survives

    @property
    def begins(self) -> bool:
        """Whether opening the stream begins the invocation: not where it continues an earlier one."""
        return not self._invocation_id

    @cached_property
    def limits(self) -> Limits:
        """The limits, counted from the moment when the stream is opened."""
        total = total_seconds(requested_timeout(self._request), None)
        return call_limits(self._context.connection.config, total, io.now())

    async def _first(self) -> Answer:
        if self._invocation_id:
            return await super()._first()
        connection = self._context.connection
        return await self._context.open(
            lambda: requests.invoke_call(
                self._context.peer, self._request, self._options, stream=True, typed=self.typed
            ),
            self.limits.for_events() if connection.peer.speaks_protocol and self._options.survives else self.limits,
        )

    async def abandon(self, invocation_id: str) -> None:
        """Cancel the invocation, within a short time; failures are only logged."""
        if self._options.on_disconnect != "continue":
            assert self.span is not None
            with self.span.active():
                await io.to_the_end(self._cancel(invocation_id))

    async def _cancel(self, invocation_id: str) -> bool:
        connection = self._context.connection
        call = requests.cancel_call(self._context.peer, invocation_id)
        limits = call_limits(connection.config, CANCEL_SECONDS, io.now())
        try:
            async with io.Until(limits.deadline, limits.total):
                outcome = await connection.attempt(call, limits)
            if isinstance(outcome, NetworkError):
                raise outcome
        except PPIOAgentRuntimeError as error:
            logger.debug("invocation %s was left and could not be cancelled: %s", invocation_id, error)
            return False
        return True


def call_options(
    request: Request,
    idempotency_key: str | None,
    on_disconnect: OnDisconnect | None,
    headers: Mapping[str, str] | None,
    user_id: str | None,
) -> CallOptions:
    """Return the options of a call; its idempotency key is generated unless given."""
    key = io.key() if idempotency_key is None else idempotency_key
    return requests.call_options(key, on_disconnect, request, headers, user_id)
