"""The sandbox of a session: its last known state, keep-alive, and the cause of lost calls."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import (
    ConfigurationError,
    NetworkError,
    PPIOAgentRuntimeError,
    SandboxGoneError,
    SandboxPausedError,
    StreamInterruptedError,
)

from .._core import lifecycle
from .._io import _async as io
from .._sandbox import Sandbox
from .agent_connection import AgentConnection
from .providers.protocol import OfficialSource

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

    from .providers.protocol import SandboxProvider

logger = logging.getLogger("ppio_agent_client")

_LOOKS = 10
_PAUSE_BETWEEN_LOOKS_SECONDS = 0.05
_LOOK_SECONDS = 5.0
"""How long one look may take; the failed call may have no time left."""


class SandboxHandle:
    """The sandbox of a session.

    Attributes:
        now: Its last known state.
        life_seconds: Its time to live, in seconds.
        forget: Called with its ID when this handle has ended it.
        keep_alive: Whether its time to live is extended between `begin_keeping` and `end_keeping`.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        sandbox: Sandbox,
        connection: AgentConnection,
        life_seconds: float | None,
        forget: Callable[[str], None],
        *,
        keep_alive: bool = False,
    ) -> None:
        self.provider = provider
        self.now: Sandbox = sandbox
        self.forget = forget
        self.life_seconds: float = lifecycle.life_of(sandbox) if life_seconds is None else life_seconds
        self.keep_alive = keep_alive
        self._extended_at = None if life_seconds is None else io.now()
        self._keeper: io.Background | None = None
        self._connection = connection

    def know(self, sandbox: Sandbox) -> None:
        """Store its current state; after a resume its URL may have changed."""
        self.now = sandbox
        self._connection.peer.url = sandbox.url
        self._connection.peer.headers.update(sandbox.headers)

    @property
    def status(self) -> models.SessionStatus:
        """The last known state of its session."""
        return models.SessionStatus.ACTIVE if self.now.state == "running" else lifecycle.status_of(self.now, None)

    async def look(self) -> Sandbox | None:
        """Return its current state from the provider."""
        found = await self.provider.get(self.now.sandbox_id)
        if found is None:
            self.now = replace(self.now, state="ended")
        else:
            self.know(found)
        return found

    def official(self) -> OfficialSandbox:
        """Return the official SDK's handle of it.

        Raises:
            ConfigurationError: Its provider has none.
        """
        if not isinstance(self.provider, OfficialSource):
            raise ConfigurationError(
                f"the official SDK only supports sandboxes of the platform, but {self.now.sandbox_id!r} comes from a "
                f"{type(self.provider).__name__}"
            )
        return self.provider.official_sandbox(self.now)

    async def extend(self, life_seconds: float | None = None) -> None:
        """Extend its time to live, counted from now, to as long as before unless `life_seconds` says otherwise."""
        if life_seconds is not None:
            self.life_seconds = life_seconds
        asked_at = io.now()
        self.know(await self.provider.extend(self.now.sandbox_id, self.life_seconds))
        self._extended_at = asked_at

    def begin_keeping(self) -> None:
        """Start extending its time to live whenever half of it is over, if `keep_alive` is set."""
        if self.keep_alive and self._keeper is None:
            self._keeper = io.Background(self._keep)

    async def end_keeping(self) -> None:
        """Stop extending its time to live."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.stop()

    async def _keep(self, work: io.Background) -> None:
        while True:
            since = None if self._extended_at is None else io.now() - self._extended_at
            if not await work.rest(lifecycle.until_extended(self.life_seconds, since)):
                return
            try:
                await self.extend()
            except SandboxGoneError:
                return
            except SandboxPausedError:
                self._extended_at = io.now()  # it does not expire while it is paused
            except PPIOAgentRuntimeError:
                logger.warning("the time to live of sandbox %s was not extended", self.now.sandbox_id, exc_info=True)

    async def check_awake(self) -> None:
        """Raise an error if it is known that it cannot be called.

        Raises:
            SandboxPausedError: It is paused.
            SandboxGoneError: It has ended.
        """
        if self.now.state != "running" or self.now.is_partial:  # another process may have resumed it
            self._judge(await self.look())

    async def explain(self, error: NetworkError | StreamInterruptedError) -> None:
        """Raise an error with the cause if the sandbox is the cause of a network error.

        Raises:
            SandboxPausedError: It is paused.
            SandboxGoneError: It has ended.
        """
        # A broken connection is noticed before the end of the process behind it, so look more than once. After a time
        # limit or a gateway's response, the state is already current.
        lost = type(error) in {NetworkError, StreamInterruptedError} and error.status_code is None
        for look in range(_LOOKS if lost else 1):
            if look:
                await io.sleep(_PAUSE_BETWEEN_LOOKS_SECONDS)
            try:
                async with io.Until(io.now() + _LOOK_SECONDS, _LOOK_SECONDS):
                    found = await self.look()
            except PPIOAgentRuntimeError:
                return  # the cause is unknown, so the network error is raised
            self._judge(found, because=error)

    def _judge(self, found: Sandbox | None, because: Exception | None = None) -> None:
        if found is None or found.state == "ended":
            raise lifecycle.gone_error(self.now.session_id, found) from because
        if found.state == "paused" and not found.wakes:
            raise lifecycle.paused_error(self.now.session_id) from because
