"""An invocation that goes on by itself, seen from any process: its state, its result, its events."""

from __future__ import annotations

from functools import partial

import ppio_agent_models as models
from ppio_agent_models import TotalTimeoutError

from .._core import requests
from .._core.limits import Limits, call_limits
from .._core.responses import resource_of, result_of
from .._io import _async as io
from .stream import InvocationStream
from .stream_source import CallContext, EventsSource


class InvocationHandle:
    """An invocation that does not need its caller. Made by `session.submit` and `session.invocation`.

    It holds nothing open. Keep `session_id` and `invocation_id` to make it again in another process.

    Attributes:
        invocation_id: The id that the agent knows the invocation by.
        session_id: The session that it belongs to.
    """

    def __init__(self, context: CallContext, invocation_id: str) -> None:
        self._context = context
        self.invocation_id = invocation_id
        self.session_id = context.session_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.invocation_id!r} of session {self.session_id!r}>"

    async def status(self) -> models.InvocationState:
        """Return where it is: `"queued"`, `"running"`, `"succeeded"`, `"failed"` or `"cancelled"`.

        Raises:
            NotFoundError: The agent does not know it, or does not hold it any more.
            NetworkError: The agent did not answer.
        """
        return (await self.info()).state

    async def info(self) -> models.InvocationResource:
        """Return everything that the agent says about it: state, times, number of the last event. See `status`."""
        return await self._look(0, self._limits(self._context.connection.config.timeout))

    async def result(self, timeout: float | None = None) -> models.InvocationResponse:
        """Wait for its end and return what it came to; what it yielded comes as one value.

        Args:
            timeout: Longest time to wait, in seconds; as long as it takes unless given.

        Raises:
            TotalTimeoutError: It was not over in time. It goes on, and can be asked again.
            InvocationError: It failed or was cancelled; the class says why.
            NotFoundError: The agent does not know it, or does not hold it any more.
            NetworkError: The agent did not answer.
        """
        limits = self._limits(timeout)
        while True:
            left = limits.remaining(io.now())
            if left is not None and left <= 0:
                raise TotalTimeoutError(
                    f"invocation {self.invocation_id} was not over within {timeout:g} s; it goes on"
                )
            wait = requests.LONGEST_WAIT_SECONDS if left is None else min(requests.LONGEST_WAIT_SECONDS, left)
            seen = await self._look(wait, limits)
            if seen.state.is_final:
                return result_of(seen)

    def events(self, after: int = 0) -> InvocationStream:
        """Return what it says, from the event behind number `after` on: use it like `session.stream`.

        Any number of readers may read, each at its own pace; leaving one does not cancel the invocation.

        Args:
            after: `last_event_id` of the stream that was read before; 0 for everything.
        """
        return InvocationStream(EventsSource(self._context, self.invocation_id, after))

    async def cancel(self) -> bool:
        """Ask the agent to stop it.

        Returns:
            Whether it was still to be stopped; False when it was over already.

        Raises:
            NotFoundError: The agent does not know it, or does not hold it any more.
            NetworkError: The agent did not answer.
        """
        limits = self._limits(self._context.connection.config.timeout)
        return not (await self._ask(requests.cancel_call, limits)).state.is_final

    def _limits(self, total: float | None) -> Limits:
        return call_limits(self._context.connection.config, total, io.now())

    async def _look(self, wait: float, limits: Limits) -> models.InvocationResource:
        return await self._ask(partial(requests.status_call, wait_seconds=wait), limits.for_waiting(wait))

    async def _ask(self, call: requests.About, limits: Limits) -> models.InvocationResource:
        peer = self._context.connection.peer
        answer = await self._context.open(lambda: call(peer, self.invocation_id), limits)
        return resource_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
