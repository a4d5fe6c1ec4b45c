"""The interface of a provider of sandboxes: a few methods with plain data. A new provider is one class with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import ppio_agent_models as models

from ..._sandbox import Sandbox, SandboxSpec

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox


@runtime_checkable
class SandboxProvider(Protocol):
    """Where sandboxes come from.

    A third-party provider is found by its name if an entry point of the group `ppio_agent_client.providers` names
    a callable that takes the `ClientConfig` and returns the provider (`ppio_agent_client.sync_providers` for the
    blocking one). The client pings, retries and waits; a provider does none of that.

    Some methods are optional. If `create` returns a sandbox in which no agent runs yet, the provider also has
    `start_agent(sandbox, spec)` (see `AgentStarter`). It can have `delete_template(template_id)`, which returns False
    if there was none, and `logs(session_id, cursor=None) -> LogPage | None`, which returns the log of the session's
    agent, from the start or since a page's cursor; None if the session isn't known. The platform's own provider also
    has `official_sandbox(sandbox)` (see `OfficialSource`).

    For a sandbox or template that doesn't exist, a method returns None or False if its type allows that, and otherwise
    raises `SandboxGoneError` or `TemplateNotFoundError`.
    """

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the sandbox of `spec.session_id`, or create one and start its agent, without waiting for it.

        Many calls at once for one session ID create one sandbox. The result's `created` is False if the call joined
        one: the client ends a sandbox whose start fails only if this call created it.

        Raises:
            TemplateNotFoundError: No such template.
            SandboxCreationError: It could not be created, or the session's sandbox has another template.
        """
        ...

    async def find(self, session_id: str) -> Sandbox | None:
        """Return the sandbox of a session, running or paused, and change nothing about it."""
        ...

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return the current state of a sandbox; one that ended may still be returned, with exit code and output."""
        ...

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes that this SDK created here, in any process, oldest first."""
        ...

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Set the time to live of the sandbox to `timeout_seconds` from now."""
        ...

    async def pause(self, sandbox_id: str) -> Sandbox:
        """Pause the sandbox and keep its memory; do nothing to a paused one."""
        ...

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Resume the sandbox; do nothing to a running one."""
        ...

    async def kill(self, sandbox_id: str) -> bool:
        """End the sandbox and everything in it; False if it had already ended."""
        ...

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return all templates that sandboxes can be created from."""
        ...

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template."""
        ...

    async def close(self) -> None:
        """Close the provider's own connections and the like. Sandboxes keep running."""
        ...


class AgentWatch(Protocol):
    """An agent that was just started, and whose caller waits for it.

    Attributes:
        start_timeout_seconds: How long it may take until `/ping` answers.
    """

    start_timeout_seconds: float

    async def poll(self) -> Sandbox | None:
        """Return its sandbox as it is now: ended, with exit code and output, once the agent's process has ended."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait for this many seconds, or until the agent ends."""
        ...

    async def close(self) -> None:
        """Stop watching. The agent keeps running."""
        ...


@runtime_checkable
class AgentStarter(Protocol):
    """A provider that starts agents in a separate step.

    The client may cancel its `create` while that waits, so `create` itself must end what it has created by then. The
    `create` of any other provider runs to its end, and what it has created is ended afterwards.
    """

    async def start_agent(self, sandbox: Sandbox, spec: SandboxSpec) -> AgentWatch | None:
        """Start the agent in a sandbox that `create` has returned, without waiting until it responds.

        In a sandbox that `create` has joined, another caller may be starting it right now; if none is, it has ended.

        Returns:
            What watches it; None if an agent is already running there.

        Raises:
            SandboxCreationError: It could not be started.
        """
        ...


@runtime_checkable
class OfficialSource(Protocol):
    """A provider of sandboxes that the platform's own SDK can open too."""

    def official_sandbox(self, sandbox: Sandbox) -> OfficialSandbox:
        """Return the SDK's handle of a sandbox. Nothing is sent.

        Raises:
            ConfigurationError: The SDK isn't installed, or what it needs isn't known yet.
        """
        ...
