"""A session: the calls to one agent, and the lifecycle of its sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

import ppio_agent_models as models
from ppio_agent_models import (
    ConfigurationError,
    NetworkError,
    PPIOAgentRuntimeError,
    SandboxGoneError,
    StreamInterruptedError,
)

from .._core import lifecycle
from .._io import _async as io
from .._sandbox import Sandbox
from .agent_calls import AgentCalls
from .agent_connection import AgentConnection
from .sandbox_handle import SandboxHandle
from .startup import until_ready

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

    from .client import AgentRuntimeClient

PING_SECONDS = 10.0
"""Longest time of one ping."""


@dataclass(slots=True)
class SessionState:
    """The state that all views of a session share: whether it was closed, and when it was last used."""

    last_activity: datetime
    closed: bool = False


class SandboxSession(AgentCalls):
    """A conversation with one agent, from the methods of a client such as `create_session` and `attach`.

    Leaving `async with session` closes its sandbox; `create_session(keep_alive=True)` keeps it alive until then. A
    session from `attach` has no sandbox: closing it only closes the handle.

    Attributes:
        session_id: The ID of the conversation, which the agent gets too.
        client: The client that created this session.
    """

    def __init__(
        self,
        session_id: str,
        connection: AgentConnection,
        sandbox: SandboxHandle | None = None,
        *,
        client: AgentRuntimeClient,
    ) -> None:
        super().__init__(session_id, connection)
        self._sandbox = sandbox
        self.client = client
        self._made_at = datetime.now(UTC)
        self._shared = SessionState(self._made_at if sandbox is None else sandbox.now.created_at)

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

    @property
    def sandbox_id(self) -> str | None:
        """The provider's ID of the sandbox; None for an attached agent."""
        return None if self._sandbox is None else self._sandbox.now.sandbox_id

    @property
    def template_id(self) -> str | None:
        """The template of the sandbox; None for an attached agent."""
        return None if self._sandbox is None else self._sandbox.now.template_id

    @property
    def created_at(self) -> datetime:
        """When its sandbox was created, UTC, as its provider says; for an attached agent, when this handle was."""
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
    def status(self) -> models.SessionStatus:
        """The last state of the session that this handle has seen. `get_status` requests the current one."""
        if self._shared.closed:
            return models.SessionStatus.CLOSED
        return models.SessionStatus.ACTIVE if self._sandbox is None else self._sandbox.status

    @property
    def is_active(self) -> bool:
        """Whether the session can be invoked, as far as this handle knows. `get_status` requests the current state."""
        return not self._shared.closed and (self._sandbox is None or self._sandbox.now.state == "running")

    @property
    def is_closed(self) -> bool:
        """Whether this handle was closed. Its sandbox may have ended without it: `get_status` shows that."""
        return self._shared.closed

    @property
    def sandbox(self) -> OfficialSandbox:
        """The official SDK's `AsyncSandbox` of this sandbox, for files, commands and terminals; nothing is sent yet.

        Raises:
            ConfigurationError: The extra `ppio-agent-client[sandbox]` is missing, or the sandbox is not the platform's.
        """
        return self._owned("open the official SDK on").official()

    async def ping(self) -> models.PingResponse:
        """Return the health of the agent.

        Raises:
            NetworkError: It didn't respond.
            SandboxGoneError: The sandbox has ended.
            SandboxPausedError: The sandbox is paused.
        """
        self._check_open()
        self._shared.last_activity = datetime.now(UTC)
        try:
            return await self._connection.ping(PING_SECONDS)
        except NetworkError as error:
            await self._explain(error)
            raise

    async def get_status(self) -> models.SessionStatus:
        """Return the current state of the session, from the provider and the agent."""
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
        """Return the session as plain data, with its current state."""
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
        """Extend the time to live of the sandbox, counted from now.

        Args:
            timeout_seconds: The new time to live, in seconds; the one it was created with unless given.

        Raises:
            SandboxGoneError: It has ended.
        """
        await self._owned("refresh").extend(timeout_seconds)

    async def pause(self) -> None:
        """Pause the sandbox and keep its memory. It doesn't expire while it is paused.

        Raises:
            SandboxGoneError: It has ended.
        """
        sandbox = self._owned("pause")
        sandbox.know(await sandbox.provider.pause(sandbox.now.sandbox_id))

    async def resume(self) -> None:
        """Resume the sandbox and wait until its agent responds.

        Raises:
            SandboxGoneError: It has ended.
            SandboxStartTimeoutError: The agent didn't respond in time; the sandbox keeps running.
        """
        sandbox = self._owned("resume")
        sandbox.know(await sandbox.provider.resume(sandbox.now.sandbox_id))
        await until_ready(sandbox.provider, sandbox.now, self._connection)

    async def close(self) -> bool:
        """End the sandbox and everything in it; for an attached agent only this handle.

        Returns:
            Whether this call ended a sandbox; False if it had already ended, or there is none.
        """
        was_closed, self._shared.closed = self._shared.closed, True
        if was_closed or self._sandbox is None:
            return False
        try:
            await self._sandbox.end_keeping()
            ended = await self._sandbox.provider.kill(self._sandbox.now.sandbox_id)
        except BaseException:
            self._shared.closed = False  # it may still run, so `close` must be possible again
            raise
        self._sandbox.forget(self._sandbox.now.sandbox_id)
        await self._connection.hang_up()
        return ended

    async def _end_keeping(self) -> None:
        """Extend the life of the sandbox no more; for the client that is closed around it."""
        if self._sandbox is not None:
            await self._sandbox.end_keeping()

    def _know(self, sandbox: Sandbox, *, keep_alive: bool = False) -> None:
        """Remember the newer state of the sandbox that was found elsewhere, and whether it is to be kept alive."""
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
