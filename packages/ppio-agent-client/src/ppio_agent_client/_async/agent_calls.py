"""What can be asked of one agent: invoke, stream, submit, ping."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, overload

import ppio_agent_models as models
from ppio_agent_models import NetworkError, SandboxGoneError, StreamInterruptedError

from .._core import invocations
from .._core.invocations import OnDisconnect
from .._core.limits import call_limits, requested_timeout, total_seconds
from .._core.requests import Request
from .._core.responses import response_of
from .._io import _async as io
from .agent_connection import AgentConnection
from .invocation_handle import InvocationHandle
from .sandbox_handle import SandboxHandle
from .stream import InvocationStream
from .stream_source import CallContext, InvocationSource, call_options

PING_SECONDS = 10.0
"""Longest time of one ping."""


@dataclass(slots=True)
class SessionState:
    """What all views of a session share: whether it was closed, and when it was last used."""

    last_activity: datetime
    closed: bool = False


class AgentCalls:
    """The calls of a session, which `SandboxSession` adds a life to.

    Args:
        session_id: The id that the agent knows the conversation by.
        connection: The way to the agent.
        sandbox: What it runs in; None for an agent that was attached by its address.
        last_activity: When it was last called, as far as is known.
    """

    def __init__(
        self, session_id: str, connection: AgentConnection, sandbox: SandboxHandle | None, last_activity: datetime
    ) -> None:
        self.session_id = session_id
        self._connection = connection
        self._sandbox = sandbox
        self._shared = SessionState(last_activity)

    @property
    def last_activity(self) -> datetime:
        """When this handle last called the agent, UTC."""
        return self._shared.last_activity

    @overload
    async def invoke(
        self,
        request: Request,
        stream: Literal[False] = False,
        *,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> models.InvocationResponse: ...
    @overload
    async def invoke(
        self,
        request: Request,
        stream: Literal[True],
        *,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> InvocationStream: ...
    @overload
    async def invoke(
        self,
        request: Request,
        stream: bool,
        *,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> models.InvocationResponse | InvocationStream: ...
    async def invoke(
        self,
        request: Request,
        stream: bool = False,
        *,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> models.InvocationResponse | InvocationStream:
        """Ask the agent.

        Args:
            request: An `InvocationRequest`, a dict that is sent as it is, or a string that is sent as `prompt`.
            stream: Return an iterator over decoded chunks instead, with the answer begun.
            idempotency_key: Calls of this session with one key and one request run the agent once: 1 to 255 characters
                of printable ASCII. Each call has a key of its own unless given, for its retries.
            on_disconnect: What becomes of the invocation when the connection is lost: `"cancel"` or `"continue"`.
                Unless given, the agent waits for its `resume_window_seconds` for the client to come back.

        Returns:
            The envelope, always with status `"success"`.

        Raises:
            InvocationError: The agent did not deliver; the class says why.
            NetworkError: No complete answer arrived; the class says which limit passed, if one did.
            SandboxGoneError: The sandbox has ended.
            SandboxPausedError: The sandbox is paused.
            SerializationError: The request cannot become JSON.
        """
        if stream:
            chunks = self.stream(request, idempotency_key=idempotency_key, on_disconnect=on_disconnect)
            await chunks.open()
            return chunks
        options = call_options(idempotency_key, on_disconnect)
        connection = self._connection
        answer = await self.context.open(
            lambda: invocations.invoke_call(connection.url, connection.headers, request, options, stream=False),
            call_limits(
                connection.config, total_seconds(requested_timeout(request), connection.config.timeout), io.now()
            ),
        )
        response = response_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        return response.known_as(
            invocations.invocation_id_of(answer.headers), replayed=invocations.was_replayed(answer.headers)
        )

    def stream(
        self, request: Request, *, idempotency_key: str | None = None, on_disconnect: OnDisconnect | None = None
    ) -> InvocationStream:
        """Return what the agent yields, as it comes: use it with `async with`, or iterate over it.

        Args:
            request: As for `invoke`. Its `timeout`, if it has one, limits the whole stream.
            idempotency_key: As for `invoke`.
            on_disconnect: As for `invoke`. Leaving the stream before its end cancels the invocation unless this is
                `"continue"`; with `"cancel"` a cut ends it too, and is not repaired.
        """
        options = call_options(idempotency_key, on_disconnect)
        return InvocationStream(InvocationSource(self.context, request, options))

    async def submit(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> InvocationHandle:
        """Hand work in and return at once; the agent does it whether or not somebody waits.

        Args:
            request: As for `invoke`.
            timeout: Longest time of the work, in seconds; that of the request, and the agent's `background_timeout` in
                any case, unless given.
            idempotency_key: As for `invoke`.
            on_disconnect: As for `invoke`, about those who read its events; `"continue"` unless given.

        Raises:
            InvocationError: The agent refused, or cannot work in the background.
            NetworkError: No answer arrived.
        """
        options = call_options(idempotency_key, on_disconnect)
        connection = self._connection
        answer = await self.context.open(
            lambda: invocations.submit_call(connection.url, connection.headers, request, options, timeout),
            call_limits(connection.config, connection.config.timeout, io.now()),
        )
        seen = invocations.resource_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        return self.invocation(seen.invocation_id)

    def invocation(self, invocation_id: str) -> InvocationHandle:
        """Return a handle of an invocation of this session, whichever process began it. Nothing is sent yet."""
        return InvocationHandle(self.context, invocations.checked_invocation_id(invocation_id))

    async def ping(self) -> models.PingResponse:
        """Return how the agent feels.

        Raises:
            NetworkError: It did not answer.
        """
        self._check_open()
        self._shared.last_activity = datetime.now(UTC)
        return await self._connection.ping(PING_SECONDS)

    @property
    def context(self) -> CallContext:
        """What a call needs of this session; for the modules behind it."""
        return CallContext(self.session_id, self._connection, self._ready, self._explain)

    async def _ready(self) -> None:
        self._check_open()
        if self._sandbox is not None:
            await self._sandbox.check_awake()
        self._shared.last_activity = datetime.now(UTC)

    async def _explain(self, error: NetworkError | StreamInterruptedError) -> None:
        if self._sandbox is not None:
            await self._sandbox.explain(error)

    def _check_open(self) -> None:
        if self._shared.closed:
            raise SandboxGoneError(f"session {self.session_id!r} was closed; create a new one")
