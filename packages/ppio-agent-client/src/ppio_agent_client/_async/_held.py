"""The sandbox behind a session: what is known of it, and what became of it when a call was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ppio_agent_models import ConfigurationError, NetworkError, PPIOAgentRuntimeError, StreamInterruptedError

from .._io import _async as io
from .._rules import lifecycle
from .._sandbox import Sandbox
from ._exchange import AgentLink
from .providers._protocol import OfficialSource

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

    from .providers._protocol import SandboxProvider

_LOOKS = 10
_PAUSE_BETWEEN_LOOKS_SECONDS = 0.05


class HeldSandbox:
    """A sandbox as its session knows it.

    Attributes:
        provider: The place it comes from.
        now: How it was when somebody last looked.
        life_seconds: How long it was meant to live, in seconds.
        forget: Called with its id once it was ended here.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        sandbox: Sandbox,
        link: AgentLink,
        life_seconds: float | None,
        forget: Callable[[str], None],
    ) -> None:
        self.provider = provider
        self.now = sandbox
        self.forget = forget
        self.life_seconds = lifecycle.life_of(sandbox) if life_seconds is None else life_seconds
        self._link = link

    def know(self, sandbox: Sandbox) -> None:
        """Remember how it is now; one that was woken may listen elsewhere."""
        self.now = sandbox
        self._link.peer.url = sandbox.url
        self._link.headers.update(sandbox.headers)

    async def look(self) -> Sandbox | None:
        """Return how the provider says it is now."""
        found = await self.provider.get(self.now.sandbox_id)
        if found is not None:
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

    async def check_awake(self) -> None:
        """Do nothing if it can be called, as far as is known.

        Raises:
            SandboxPausedError: It sleeps.
            SandboxGoneError: It slept, and has ended.
        """
        if self.now.state == "paused" or self.now.is_partial:  # somebody else may have woken it
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
                found = await self.look()
            except PPIOAgentRuntimeError:
                return  # nobody knows more; the network's error stands
            self._judge(found, because=error)

    def _judge(self, found: Sandbox | None, because: Exception | None = None) -> None:
        if found is None or found.state == "ended":
            raise lifecycle.gone(self.now.session_id, found) from because
        if found.state == "paused":
            raise lifecycle.asleep(self.now.session_id) from because
