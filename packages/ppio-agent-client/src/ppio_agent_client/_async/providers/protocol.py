"""What a source of sandboxes must be able to do: few methods, plain data. A new source is one class with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import ppio_agent_models as models

from ..._sandbox import Sandbox, SandboxSpec

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox


@runtime_checkable
class SandboxProvider(Protocol):
    """Where sandboxes come from.

    A third-party provider is found by its name when an entry point of the group `ppio_agent_client.providers` leads
    to a callable that takes the `ClientConfig` and returns it (`ppio_agent_client.sync_providers` for the blocking
    one). The client pings, retries and waits; a provider does none of that.

    Some methods are optional. A provider whose `create` gives a sandbox in which no agent runs yet has
    `start_agent(sandbox, spec)` as well (see `AgentStarter`); one that can has `delete_template(template_id)`, which
    returns False when there was none, and `logs(session_id, cursor=None) -> LogPage | None`: what the session's agent
    has written, from the start or since a page's cursor; None when nothing is known of the session. The platform's
    own also has `official_sandbox(sandbox)` (see `OfficialSource`).

    A method that names a sandbox or template which does not exist answers None or False where its type allows, and
    raises `SandboxGoneError` or `TemplateNotFoundError` where it does not.
    """

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the living sandbox of `spec.session_id`, or make one and start its agent, without waiting for it.

        Asked many times at once for one session id, it makes one sandbox. `created` of what it returns is False where
        it joined one: the client ends a sandbox whose start fails only if this call made it.

        Raises:
            TemplateNotFoundError: No such template.
            SandboxCreationError: It could not be made, or the session's sandbox was made from another template.
        """
        ...

    async def find(self, session_id: str) -> Sandbox | None:
        """Return the living sandbox of a session, running or paused, and change nothing about it."""
        ...

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox as it is now; one that ended may still be shown, with exit code and output."""
        ...

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return every living sandbox that this SDK made here, whichever process made it, oldest first."""
        ...

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Let the sandbox live for `timeout_seconds` from now."""
        ...

    async def pause(self, sandbox_id: str) -> Sandbox:
        """Pause the sandbox with its memory; a paused one stays as it is."""
        ...

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Wake the sandbox; a running one stays as it is."""
        ...

    async def kill(self, sandbox_id: str) -> bool:
        """End the sandbox and everything in it; False when it had ended before."""
        ...

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return every template that sandboxes can be made from."""
        ...

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template."""
        ...

    async def close(self) -> None:
        """Close what the provider itself holds open. Sandboxes live on."""
        ...


class AgentWatch(Protocol):
    """An agent that was just started, while a caller waits for it.

    Attributes:
        start_timeout_seconds: How long it may take until `/ping` answers.
    """

    start_timeout_seconds: float

    async def poll(self) -> Sandbox | None:
        """Return its sandbox as it is now: ended, with exit code and output, as soon as the agent's process has."""
        ...

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until the agent ends."""
        ...

    async def close(self) -> None:
        """Stop watching. The agent keeps running."""
        ...


@runtime_checkable
class AgentStarter(Protocol):
    """A provider that starts agents in a step of its own.

    The client cancels its `create` while that waits, so it must end by itself what it has made by then. The `create` of
    any other provider runs to its end, and what it has made is ended afterwards.
    """

    async def start_agent(self, sandbox: Sandbox, spec: SandboxSpec) -> AgentWatch | None:
        """Start the agent in a sandbox that `create` has given, without waiting until it answers.

        In a sandbox that `create` has joined, another caller may just be starting it; if none is, it has ended.

        Returns:
            What watches it; None when one runs there already.

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
            ConfigurationError: The SDK is not installed, or it is not known yet what it needs.
        """
        ...
