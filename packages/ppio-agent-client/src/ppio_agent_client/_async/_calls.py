"""What can be asked of one agent: invoke, stream, submit, ping."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, overload

import ppio_agent_models as models
from ppio_agent_models import NetworkError, SandboxGoneError, StreamInterruptedError

from .._io import _async as io
from .._rules import durable
from .._rules.durable import OnDisconnect
from .._rules.limits import call_limits, requested_timeout, total_seconds
from .._rules.requests import Request
from .._rules.responses import response_of
from ._exchange import AgentLink
from ._held import HeldSandbox
from ._invocations import InvocationHandle
from ._sources import Conversation, InvocationSource, terms_of
from ._stream import InvocationStream

PING_SECONDS = 10.0
"""Longest time of one ping."""


@dataclass(slots=True)
class Handle:
    """What all views of a session share: whether it was closed, and when it was last used."""

    last_activity: datetime
    closed: bool = False


class AgentCalls:
    """The calls of a session, which `SandboxSession` adds a life to.

    Args:
        session_id: The id that the agent knows the conversation by.
        link: The way to the agent.
        sandbox: What it runs in; None for an agent that was attached by its address.
        last_activity: When it was last called, as far as is known.
    """

    def __init__(self, session_id: str, link: AgentLink, sandbox: HeldSandbox | None, last_activity: datetime) -> None:
        self.session_id = session_id
        self._link = link
        self._sandbox = sandbox
        self._handle = Handle(last_activity)

    @property
    def last_activity(self) -> datetime:
        """When this handle last called the agent, UTC."""
        return self._handle.last_activity

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
                of printable ASCII. Each call has a key of its own unless given, for its repetitions.
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
        terms = terms_of(idempotency_key, on_disconnect)
        link = self._link
        answer = await self.conversation.open(
            lambda: durable.asking(link.url, link.headers, request, terms, stream=False),
            call_limits(link.config, total_seconds(requested_timeout(request), link.config.timeout), io.now()),
        )
        response = response_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        return response.known_as(
            durable.invocation_id_of(answer.headers), replayed=durable.was_replayed(answer.headers)
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
        terms = terms_of(idempotency_key, on_disconnect)
        return InvocationStream(InvocationSource(self.conversation, request, terms))

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
        terms = terms_of(idempotency_key, on_disconnect)
        link = self._link
        answer = await self.conversation.open(
            lambda: durable.handing_in(link.url, link.headers, request, terms, timeout),
            call_limits(link.config, link.config.timeout, io.now()),
        )
        seen = durable.resource_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        return self.invocation(seen.invocation_id)

    def invocation(self, invocation_id: str) -> InvocationHandle:
        """Return a handle of an invocation of this session, whichever process began it. Nothing is sent yet."""
        return InvocationHandle(self.conversation, durable.checked_invocation_id(invocation_id))

    async def ping(self) -> models.PingResponse:
        """Return how the agent feels.

        Raises:
            NetworkError: It did not answer.
        """
        self._check_open()
        self._handle.last_activity = datetime.now(UTC)
        return await self._link.ping(PING_SECONDS)

    @property
    def conversation(self) -> Conversation:
        """What a call needs of this session; for the rooms behind it."""
        return Conversation(self.session_id, self._link, self._ready, self._explain)

    async def _ready(self) -> None:
        self._check_open()
        if self._sandbox is not None:
            await self._sandbox.check_awake()
        self._handle.last_activity = datetime.now(UTC)

    async def _explain(self, error: NetworkError | StreamInterruptedError) -> None:
        if self._sandbox is not None:
            await self._sandbox.explain(error)

    def _check_open(self) -> None:
        if self._handle.closed:
            raise SandboxGoneError(f"session {self.session_id!r} was closed; create a new one")
