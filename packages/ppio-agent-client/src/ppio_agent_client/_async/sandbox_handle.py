"""The sandbox behind a session: what is known of it, and what became of it when a call was lost."""

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
"""How long a look may take: the call that it explains has failed, perhaps because its time was over."""


class SandboxHandle:
    """A sandbox as its session knows it.

    Attributes:
        now: How it was when somebody last looked.
        life_seconds: How long it was meant to live, in seconds.
        forget: Called with its id once it was ended here.
        keep_alive: Whether its life is extended between `begin_keeping` and `end_keeping`.
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
        """Remember how it is now; one that was woken may listen elsewhere."""
        self.now = sandbox
        self._connection.peer.url = sandbox.url
        self._connection.peer.headers.update(sandbox.headers)

    @property
    def status(self) -> models.SessionStatus:
        """The state of its session, as it was when somebody last looked."""
        return models.SessionStatus.ACTIVE if self.now.state == "running" else lifecycle.status_of(self.now, None)

    async def look(self) -> Sandbox | None:
        """Return how the provider says it is now."""
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
                f"the official SDK knows sandboxes of the platform only, and {self.now.sandbox_id!r} comes from a "
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
        """Extend its life from now on whenever half of it is over, if that is wanted."""
        if self.keep_alive and self._keeper is None:
            self._keeper = io.Background(self._keep)

    async def end_keeping(self) -> None:
        """Extend its life no more."""
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
                self._extended_at = io.now()  # nothing ends while it sleeps
            except PPIOAgentRuntimeError:
                logger.warning("the time to live of sandbox %s was not extended", self.now.sandbox_id, exc_info=True)

    async def check_awake(self) -> None:
        """Do nothing if it can be called, as far as is known.

        Raises:
            SandboxPausedError: It sleeps.
            SandboxGoneError: It has ended.
        """
        if self.now.state != "running" or self.now.is_partial:  # somebody else may have woken it
            self._judge(await self.look())

    async def explain(self, error: NetworkError | StreamInterruptedError) -> None:
        """Raise what happened to it, if something did, instead of what the network saw of that.

        Raises:
            SandboxPausedError: It sleeps.
            SandboxGoneError: It has ended.
        """
        # A broken connection is seen before the end of the process that broke it, so look more than once; a time limit
        # is no such hint, and what a gateway says comes after it.
        lost = type(error) in {NetworkError, StreamInterruptedError} and error.status_code is None
        for look in range(_LOOKS if lost else 1):
            if look:
                await io.sleep(_PAUSE_BETWEEN_LOOKS_SECONDS)
            try:
                async with io.Until(io.now() + _LOOK_SECONDS, _LOOK_SECONDS):
                    found = await self.look()
            except PPIOAgentRuntimeError:
                return  # nobody knows more; the network's error stands
            self._judge(found, because=error)

    def _judge(self, found: Sandbox | None, because: Exception | None = None) -> None:
        if found is None or found.state == "ended":
            raise lifecycle.gone_error(self.now.session_id, found) from because
        if found.state == "paused" and not found.wakes:
            raise lifecycle.paused_error(self.now.session_id) from because
