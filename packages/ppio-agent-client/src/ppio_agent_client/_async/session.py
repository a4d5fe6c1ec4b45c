"""A session: the calls to one agent, and the life of the sandbox that it runs in."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, overload

import ppio_agent_models as models
from ppio_agent_models import (
    ConfigurationError,
    NetworkError,
    PPIOAgentRuntimeError,
    SandboxGoneError,
    StreamInterruptedError,
)

from .._config import NOT_GIVEN, ClientConfig, NotGiven, with_options
from .._core import lifecycle, requests
from .._core.limits import call_limits, requested_timeout, total_seconds
from .._core.requests import OnDisconnect, Request
from .._core.responses import invocation_id_of, resource_of, response_of, was_replayed
from .._io import _async as io
from .._sandbox import Sandbox
from .agent_connection import AgentConnection
from .invocation_handle import InvocationHandle
from .sandbox_handle import SandboxHandle
from .startup import until_ready
from .stream import InvocationStream
from .stream_source import CallContext, InvocationSource, call_options

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

PING_SECONDS = 10.0
"""Longest time of one ping."""


@dataclass(slots=True)
class SessionState:
    """What all views of a session share: whether it was closed, and when it was last used."""

    last_activity: datetime
    closed: bool = False


class SandboxSession:
    """A conversation with one agent. Made by the methods of a client, and by `attach`.

    Leaving `async with session` closes its sandbox, whose life `create_session(keep_alive=True)` extends until then. A
    session of `attach` has no sandbox: closing it closes the handle.

    Attributes:
        session_id: The id that the agent knows the conversation by.
    """

    def __init__(
        self,
        session_id: str,
        connection: AgentConnection,
        sandbox: SandboxHandle | None = None,
    ) -> None:
        self.session_id = session_id
        self._connection = connection
        self._sandbox = sandbox
        self._made_at = datetime.now(UTC)
        self._shared = SessionState(self._made_at if sandbox is None else sandbox.now.created_at)
        self._origin: SandboxSession | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session_id!r} at {self.host_url}>"

    async def __aenter__(self) -> Self:
        if self._sandbox is not None:
            self._sandbox.begin_keeping()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await io.to_the_end(self.close())

    def with_options(
        self, *, timeout: float | NotGiven | None = NOT_GIVEN, max_retries: int | NotGiven = NOT_GIVEN
    ) -> Self:
        """Return this session with other settings for its calls: `session.with_options(timeout=5).invoke(...)`.

        It costs nothing and shares everything else with this one: sandbox, connections, and being closed.

        Args:
            timeout: Longest time of one whole call, in seconds; None for no limit.
            max_retries: How often a call that cannot run twice is retried, and a stream read on.

        Raises:
            ConfigurationError: One is out of its bounds.
        """
        return self.with_config(with_options(self._connection.config, timeout, max_retries))

    def with_config(self, config: ClientConfig) -> Self:
        """Return this session with the settings of a view of its client; for the client around it."""
        session = copy.copy(self)
        session._connection = self._connection.with_config(config)
        session._origin = self._origin or self  # which its client knows as long as somebody holds it
        return session

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
        total = total_seconds(requested_timeout(request), connection.config.timeout)
        answer = await self.context.open(
            lambda: requests.invoke_call(connection.peer, request, options, stream=False),
            call_limits(connection.config, total, io.now()),
        )
        response = response_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        return response.known_as(invocation_id_of(answer.headers), replayed=was_replayed(answer.headers))

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
            lambda: requests.submit_call(connection.peer, request, options, timeout),
            call_limits(connection.config, connection.config.timeout, io.now()),
        )
        seen = resource_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        return self.invocation(seen.invocation_id)

    def invocation(self, invocation_id: str) -> InvocationHandle:
        """Return a handle of an invocation of this session, whichever process began it. Nothing is sent yet."""
        return InvocationHandle(self.context, requests.checked_invocation_id(invocation_id))

    async def ping(self) -> models.PingResponse:
        """Return the health of the agent.

        Raises:
            NetworkError: It did not answer.
        """
        self._check_open()
        self._shared.last_activity = datetime.now(UTC)
        return await self._connection.ping(PING_SECONDS)

    @property
    def sandbox_id(self) -> str | None:
        """The provider's name for the sandbox; None for an attached agent."""
        return None if self._sandbox is None else self._sandbox.now.sandbox_id

    @property
    def template_id(self) -> str | None:
        """What the sandbox was made from; None for an attached agent."""
        return None if self._sandbox is None else self._sandbox.now.template_id

    @property
    def host_url(self) -> str:
        """Where the agent listens, without a trailing slash."""
        return self._connection.peer.url

    @property
    def created_at(self) -> datetime:
        """When its sandbox was made, UTC, as its provider says; for an attached agent, when this handle was."""
        return self._made_at if self._sandbox is None else self._sandbox.now.created_at

    @property
    def last_activity(self) -> datetime:
        """When this handle last called the agent, UTC."""
        return self._shared.last_activity

    @property
    def expires_at(self) -> datetime | None:
        """When the sandbox ends by itself, UTC, as far as this handle knows; None while it is paused."""
        return None if self._sandbox is None else self._sandbox.now.expires_at

    @property
    def is_active(self) -> bool:
        """Whether the session can be invoked, as far as this handle knows. `get_status` asks."""
        return not self._shared.closed and (self._sandbox is None or self._sandbox.now.state == "running")

    @property
    def is_closed(self) -> bool:
        """Whether this handle was closed. Its sandbox may have ended without it: `get_status` asks."""
        return self._shared.closed

    @property
    def sandbox(self) -> OfficialSandbox:
        """The official SDK's `AsyncSandbox` of this sandbox, for files, commands and terminals; nothing is sent yet.

        Raises:
            ConfigurationError: The extra `ppio-agent-client[sandbox]` is missing, or the sandbox is not the platform's.
        """
        return self._owned("open the official SDK on").official()

    async def get_status(self) -> models.SessionStatus:
        """Return the state of the session, asked of the provider and of the agent."""
        if self._shared.closed:
            return models.SessionStatus.CLOSED
        if self._sandbox is not None:
            found = await self._sandbox.look()
            if found is None or found.state != "running":
                return lifecycle.status_of(found, None)
        try:
            answer = await self._connection.ping(PING_SECONDS)
        except PPIOAgentRuntimeError:
            return models.SessionStatus.INACTIVE
        return lifecycle.status_of_ping(answer)

    async def info(self) -> models.SessionInfo:
        """Return the session as plain data, with its state as of now."""
        status = await self.get_status()
        return models.SessionInfo(
            session_id=self.session_id,
            sandbox_id=self.sandbox_id,
            template_id=self.template_id,
            status=status,
            host_url=self.host_url,
            created_at=self.created_at,
            expires_at=self.expires_at,
            metadata={} if self._sandbox is None else dict(self._sandbox.now.metadata),
        )

    async def refresh(self, timeout_seconds: float | None = None) -> None:
        """Let the sandbox live on, counted from now.

        Args:
            timeout_seconds: For how long, in seconds; as long as it was made for unless given.

        Raises:
            SandboxGoneError: It has ended.
        """
        await self._owned("refresh").extend(timeout_seconds)

    async def pause(self) -> None:
        """Put the sandbox to sleep with its memory. It does not expire meanwhile.

        Raises:
            SandboxGoneError: It has ended.
        """
        sandbox = self._owned("pause")
        sandbox.know(await sandbox.provider.pause(sandbox.now.sandbox_id))

    async def resume(self) -> None:
        """Wake the sandbox and wait until its agent answers.

        Raises:
            SandboxGoneError: It has ended.
            SandboxStartTimeoutError: The agent did not answer in time; the sandbox lives on.
        """
        sandbox = self._owned("resume")
        sandbox.know(await sandbox.provider.resume(sandbox.now.sandbox_id))
        await until_ready(sandbox.provider, sandbox.now, self._connection)

    async def close(self) -> bool:
        """End the sandbox and everything in it; for an attached agent only this handle.

        Returns:
            Whether this call ended a sandbox; False when it had ended before, or there is none.
        """
        was_closed, self._shared.closed = self._shared.closed, True
        if was_closed or self._sandbox is None:
            return False
        try:
            await self._sandbox.end_keeping()
            ended = await self._sandbox.provider.kill(self._sandbox.now.sandbox_id)
        except BaseException:
            self._shared.closed = False  # it may live: a second try must not take it for ended
            raise
        self._sandbox.forget(self._sandbox.now.sandbox_id)
        await self._connection.hang_up()
        return ended

    async def end_keeping(self) -> None:
        """Extend the life of the sandbox no more; for the client that is closed around it."""
        if self._sandbox is not None:
            await self._sandbox.end_keeping()

    def know(self, sandbox: Sandbox, *, keep_alive: bool = False) -> None:
        """Remember how the sandbox was when somebody else looked at it, and that it is to be kept alive."""
        if self._sandbox is not None:
            self._sandbox.know(sandbox)
            self._sandbox.keep_alive = self._sandbox.keep_alive or keep_alive

    def _owned(self, verb: str) -> SandboxHandle:
        self._check_open()
        if self._sandbox is None:
            raise ConfigurationError(
                f"cannot {verb} session {self.session_id!r}: its agent at {self.host_url} was attached by address and "
                "has no sandbox; only sessions of create_session() and get_session() have one"
            )
        return self._sandbox

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
