"""Where the events of an invocation come from: from asking the agent, or from reading what it has said already."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ppio_agent_models import NetworkError, PPIOAgentRuntimeError, StreamInterruptedError

from .._core import requests
from .._core.limits import Limits, call_limits, requested_timeout, total_seconds
from .._core.requests import Call, CallOptions, OnDisconnect, Request
from .._io import _async as io

if TYPE_CHECKING:
    from .agent_connection import AgentConnection, Explain
    from .transport import Answer

logger = logging.getLogger("ppio_agent_client")

CANCEL_SECONDS: Final = 2.0
"""How long leaving a stream may take to tell the agent."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a call needs of its session.

    Attributes:
        session_id: The session's id.
        connection: The way to the agent.
        ready: Raises where the session cannot be called: it is closed, or sleeps.
        explain: Raises what happened to the sandbox, if something did, instead of what the network saw of it.
    """

    session_id: str
    connection: AgentConnection
    ready: Callable[[], Awaitable[None]]
    explain: Explain

    async def open(self, call: Callable[[], Call], limits: Limits) -> Answer:
        """Return the answer to a call, retried where that is safe; what is no event stream has been read.

        The call is made once the session is ready: a sandbox that was woken may listen elsewhere.
        """
        try:
            async with io.Until(limits.deadline, limits.total):
                await self.ready()
                return await self.connection.open(call(), limits, self.explain)
        except NetworkError as error:
            await self.explain(error)
            raise


class EventsSource:
    """What an invocation has said after event number `after`, and will say. Leaving it leaves the invocation alone.

    `context` is None while its session is not made yet.
    """

    def __init__(self, context: CallContext | None, invocation_id: str, after: int) -> None:
        self.context = context
        self._invocation_id = invocation_id
        self.after = after

    @property
    def _context(self) -> CallContext:
        assert self.context is not None
        return self.context

    @property
    def survives(self) -> bool:
        """Whether the invocation goes on when the connection is cut."""
        return True

    @cached_property
    def limits(self) -> Limits:
        """The limits, counted from the moment when the stream is opened."""
        return call_limits(self._context.connection.config, None, io.now())

    async def open(self) -> Answer:
        """Return the begin of the stream."""
        limits = self.limits.for_events()
        return await self._context.open(lambda: self._call(self._invocation_id, self.after), limits)

    async def read_on(self, invocation_id: str, after: int) -> Answer | NetworkError:
        """Return what comes of one attempt to read on after a cut."""
        limits = self.limits.for_events()
        try:
            async with io.Until(limits.deadline, limits.total):
                return await self._context.connection.attempt(self._call(invocation_id, after), limits)
        except NetworkError as error:
            return error

    def pause(self, failures: int, answer: Answer | None) -> float | None:
        """Return how long to wait before such an attempt; None when there were enough of them."""
        return self._context.connection.pause(failures, self.limits, answer)

    async def explain(self, error: NetworkError | StreamInterruptedError) -> None:
        """Raise what happened to the sandbox, if something did."""
        await self._context.explain(error)

    async def abandon(self, invocation_id: str) -> None:
        """Do nothing: whoever reads an invocation does not own it."""

    async def close(self) -> None:
        """Do nothing: the session is its owner's."""

    def _call(self, invocation_id: str, after: int) -> Call:
        return requests.events_call(self._context.connection.peer, invocation_id, after)


class InvocationSource(EventsSource):
    """A question to the agent. Leaving its stream cancels the invocation, unless it was asked to go on."""

    def __init__(self, context: CallContext | None, request: Request, options: CallOptions) -> None:
        super().__init__(context, "", 0)
        self._request = request
        self._options = options

    @property
    def survives(self) -> bool:
        """Whether the invocation goes on when the connection is cut."""
        return self._options.survives

    @cached_property
    def limits(self) -> Limits:
        """The limits, counted from the moment when the stream is opened."""
        total = total_seconds(requested_timeout(self._request), None)
        return call_limits(self._context.connection.config, total, io.now())

    async def open(self) -> Answer:
        """Send the request and return the answer to it."""
        connection = self._context.connection
        return await self._context.open(
            lambda: requests.invoke_call(connection.peer, self._request, self._options, stream=True),
            self.limits.for_events() if connection.peer.speaks_protocol and self._options.survives else self.limits,
        )

    async def abandon(self, invocation_id: str) -> None:
        """Cancel the invocation; within a short time, and whatever comes of it."""
        if self._options.on_disconnect != "continue":
            await io.to_the_end(self._cancel(invocation_id))

    async def _cancel(self, invocation_id: str) -> bool:
        connection = self._context.connection
        call = requests.cancel_call(connection.peer, invocation_id)
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


def call_options(idempotency_key: str | None, on_disconnect: OnDisconnect | None) -> CallOptions:
    """Return the options of a call; its key is made up unless the caller has one."""
    return requests.call_options(io.key() if idempotency_key is None else idempotency_key, on_disconnect)
