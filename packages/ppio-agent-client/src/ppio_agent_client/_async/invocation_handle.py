"""A handle of an invocation that runs in the background, for use in any process: its state, result and events."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, TypeVar, overload

import ppio_agent_models as models
from ppio_agent_models import PPIOAgentRuntimeError, TotalTimeoutError

from .._core import requests
from .._core.limits import Limits, call_limits
from .._core.responses import resource_of, result_of
from .._core.typed_results import typed as as_type
from .._io import _async as io
from .stream import AgentEventStream, InvocationStream
from .stream_source import CallContext, EventsSource

T = TypeVar("T")


class InvocationHandle:
    """A handle of an invocation that runs in the background, from `session.submit` or `session.invocation`.

    It keeps nothing open. Keep `session_id` and `invocation_id` to create it again in another process. Its methods can
    be called again after any error, but `retryable` of a look that failed is False: the agent may have run.

    Attributes:
        invocation_id: The ID of the invocation, as the agent has it.
        session_id: The session that it belongs to.
        replayed: Whether an earlier `submit` with the same idempotency key started it.
    """

    def __init__(self, context: CallContext, invocation_id: str, *, replayed: bool = False) -> None:
        self._context = context
        self.invocation_id = invocation_id
        self.replayed = replayed
        self.session_id: str = context.session_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.invocation_id!r} of session {self.session_id!r}>"

    async def status(self) -> models.InvocationState:
        """Return its state: `"queued"`, `"running"`, `"succeeded"`, `"failed"` or `"cancelled"`.

        Raises:
            NotFoundError: The agent doesn't have this invocation, or no longer keeps it.
            NetworkError: The agent didn't respond.
        """
        return (await self.info()).state

    async def info(self) -> models.InvocationResource:
        """Return all facts about it: state, times, number of the last event. See `status`."""
        return await self._look(0, self._limits(self._context.connection.config.timeout))

    @overload
    async def result(self, timeout: float | None = None, *, result_type: None = None) -> models.InvocationResponse: ...
    @overload
    async def result(self, timeout: float | None = None, *, result_type: type[T]) -> models.InvocationResponse[T]: ...
    async def result(
        self, timeout: float | None = None, *, result_type: type[Any] | None = None
    ) -> models.InvocationResponse:
        """Wait until it is over and return the result; chunks that it yielded are returned as one value.

        Args:
            timeout: Longest time to wait, in seconds; no limit unless given.
            result_type: As for `SandboxSession.invoke`.

        Raises:
            TotalTimeoutError: It wasn't over in time. It keeps running, and you can call this again.
            InvocationError: It failed or was cancelled; the class says why.
            NotFoundError: The agent doesn't have this invocation, or no longer keeps it.
            NetworkError: The agent didn't respond.
        """
        limits = self._limits(timeout)
        left = limits.remaining(io.now())
        while left is None or left > 0:
            wait = requests.LONGEST_WAIT_SECONDS if left is None else min(requests.LONGEST_WAIT_SECONDS, left)
            try:
                seen = await self._look(wait, limits)
            except TotalTimeoutError:
                break
            if seen.state.is_final:
                return as_type(result_of(seen), result_type)
            left = limits.remaining(io.now())
        raise TotalTimeoutError(f"invocation {self.invocation_id} did not finish within {timeout:g} s; it continues")

    @overload
    def events(self, after: int = 0, *, typed: Literal[False] = False, chunk_type: None = None) -> InvocationStream: ...
    @overload
    def events(self, after: int = 0, *, typed: Literal[False] = False, chunk_type: type[T]) -> InvocationStream[T]: ...
    @overload
    def events(self, after: int = 0, *, typed: Literal[True]) -> AgentEventStream: ...
    def events(self, after: int = 0, *, typed: bool = False, chunk_type: type[Any] | None = None) -> InvocationStream:
        """Return a stream of its events, from the one after number `after` on: use it like `session.stream`.

        There can be any number of readers, each at its own pace; leaving one doesn't cancel the invocation.

        Args:
            after: `last_event_id` of the stream that was read before; 0 for all events.
            typed: As typed events, like `session.events`.
            chunk_type: As for `SandboxSession.stream`.
        """
        if typed:
            return AgentEventStream(EventsSource(self._context, self.invocation_id, after, typed=True))
        return InvocationStream(EventsSource(self._context, self.invocation_id, after), chunk_type)

    async def cancel(self) -> bool:
        """Cancel the invocation.

        Returns:
            Whether it was still running or waiting; False if it was already over.

        Raises:
            NotFoundError: The agent doesn't have this invocation, or no longer keeps it.
            NetworkError: The agent didn't respond.
        """
        limits = self._limits(self._context.connection.config.timeout)
        return not (await self._ask(requests.cancel_call, limits, "cancel_invocation")).state.is_final

    def _limits(self, total: float | None) -> Limits:
        return call_limits(self._context.connection.config, total, io.now())

    async def _look(self, wait: float, limits: Limits) -> models.InvocationResource:
        call = partial(requests.status_call, wait_seconds=wait)
        return await self._ask(call, limits.for_waiting(wait), "get_invocation")

    async def _ask(self, call: requests.About, limits: Limits, operation: str) -> models.InvocationResource:
        try:
            answer = await self._context.ask(lambda: call(self._context.peer, self.invocation_id), limits, operation)
            return resource_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        except PPIOAgentRuntimeError as error:
            error.retryable = False  # The agent may have run, whatever the error says.
            raise
