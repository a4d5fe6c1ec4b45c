"""The provider of sandboxes on the PPIO platform, over its HTTP API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import TemplateNotFoundError

from ...._core import lifecycle
from ...._core.platform.start import agent_start
from ...._core.platform.urls import platform_urls
from ...._core.retry import RetryBudget
from ...._io import _async as io
from ...._sandbox import LogPage, Sandbox, SandboxSpec
from ...auth import AuthManager, auth_of
from .api import PlatformApi
from .create import SandboxCreator
from .sandboxes import PlatformSandboxes
from .startup import AgentStartup
from .templates import PlatformTemplates

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

    from ...._config import ClientConfig
    from ...transport import Transport
    from ..protocol import AgentWatch


class PlatformSandboxProvider:
    """Sandboxes on the PPIO platform. `AgentRuntimeClient` uses one if there is a key and no other provider.

    What it needs to know of a sandbox is in the sandbox's metadata, so every process with the same key sees the same
    sessions. The key is sent to the platform's API only; agents and envd get tokens of their own.

    Args:
        config: URLs, credentials and limits; the environment's unless given.
        auth: The credentials; those of `config` unless given.
        transport: Returns the connections to use; unless given, it opens and closes its own.
        budget: The retry budget; that of `config` unless given.

    Raises:
        ConfigurationError: A URL isn't valid.
    """

    def __init__(
        self,
        config: ClientConfig | None = None,
        *,
        auth: AuthManager | None = None,
        transport: Callable[[], Awaitable[Transport]] | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        from ...._config import settle

        self._config = settle(config, {})
        self._auth = auth or auth_of(self._config)
        urls = platform_urls(self._config)
        self._url = urls.api
        self._own_transport: Transport | None = None
        self._transport = transport or self._get_own_transport
        budget = budget or RetryBudget(self._config.retry_budget)
        self._api = PlatformApi(urls, self._auth, self._config, self._transport, budget)
        self._templates = PlatformTemplates(self._api, self._config)
        self._sandboxes = PlatformSandboxes(self._api, urls, self._auth, self._templates)
        self._creator = SandboxCreator(self._api, self._sandboxes, self._templates)
        self._startup = AgentStartup(self._sandboxes, self._config, self._transport)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._url}>"

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the sandbox of `spec.session_id`, or create one, in which no agent runs yet.

        If many processes create one session at once, each ends the sandbox that it made unless that is the oldest.

        Raises:
            TemplateNotFoundError: No such template.
            SandboxCreationError: It could not be created, or the session's sandbox has another template.
            QuotaExceededError: The account's quota is used up.
            ConfigurationError: The platform can't create a sandbox with these settings.
        """
        self._auth.session_token(spec.session_id)  # raises before anything is created if there is no secret for it
        return await self._creator.create(spec)

    async def start_agent(self, sandbox: Sandbox, spec: SandboxSpec) -> AgentWatch | None:
        """Start the agent in a sandbox if none is running there. See `AgentStarter`."""
        startup = self._startup
        if await (startup.is_running(sandbox) if sandbox.created else startup.is_coming(sandbox)):
            return None
        start = agent_start(await self._templates.resolve(spec.template_id))
        return await startup.start(sandbox, spec, start, self._auth.session_token(spec.session_id))

    async def find(self, session_id: str) -> Sandbox | None:
        """Return the sandbox of a session, running or paused, and change nothing about it."""
        running = await self._sandboxes.running(session_id)
        return await self._sandboxes.complete(running[0]) if running else None

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return the current state of a sandbox; None if it has ended, or isn't one of this SDK."""
        return await self._sandboxes.get(sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes that this SDK created with this key, in any process, oldest first."""
        return await self._sandboxes.list_all()

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Set the time to live of the sandbox to `timeout_seconds` from now.

        Raises:
            SandboxGoneError: It has ended.
            SandboxPausedError: It is paused.
            PlatformError: The platform did not do it.
        """
        reply = await self._api.set_timeout(sandbox_id, timeout_seconds)
        found = await self.get(sandbox_id)
        if found is not None and found.state == "paused":
            raise lifecycle.paused_error(found.session_id)
        if found is None or reply.status == 404:
            raise self._sandboxes.gone(sandbox_id)
        if reply.error is not None:
            raise reply.error
        return found

    async def pause(self, sandbox_id: str) -> Sandbox:
        """Pause the sandbox and keep its memory; does nothing to a paused one.

        Raises:
            SandboxGoneError: It has ended.
            PlatformError: The platform did not do it.
        """
        reply = await self._api.pause(sandbox_id)
        found = await self.get(sandbox_id)
        if found is None:
            raise self._sandboxes.gone(sandbox_id)
        if found.state != "paused" and reply.error is not None:
            raise reply.error
        return found

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Resume the sandbox, for the time to live that it was created with; does nothing to a running one.

        Raises:
            SandboxGoneError: It has ended.
        """
        return await self._sandboxes.resume(sandbox_id)

    async def kill(self, sandbox_id: str) -> bool:
        """End the sandbox and everything in it; False if it had already ended."""
        ended = await self._api.kill(sandbox_id)
        self._sandboxes.forget(sandbox_id)
        return ended

    async def logs(self, session_id: str, cursor: str | None = None) -> LogPage | None:
        """Return the output of the processes in the sandbox of a running session; None if there is no such session."""
        running = await self._sandboxes.running(session_id)
        return await self._api.logs(running[0].sandbox_id, cursor) if running else None

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return every template of the account."""
        return await self._templates.fetch()

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template: by the platform's ID, an alias, or the name that the vendor's tools gave the agent.

        Raises:
            TemplateNotFoundError: There is none.
        """
        found = await self._templates.resolve(template_id)
        if found is None:
            raise TemplateNotFoundError(f"the platform lists no template {template_id!r} for this key")
        return found

    async def delete_template(self, template_id: str) -> bool:
        """Delete a template; sandboxes that were made from it keep running. False if there was none."""
        deleted = await self._api.delete_template(template_id)
        self._templates.forget()
        return deleted

    def official_sandbox(self, sandbox: Sandbox) -> OfficialSandbox:
        """Return the official SDK's handle of a sandbox. See `OfficialSource`."""
        return self._sandboxes.official(sandbox.sandbox_id)

    async def close(self) -> None:
        """Close the provider's own connections. Sandboxes keep running."""
        transport, self._own_transport = self._own_transport, None
        if transport is not None:
            await transport.close()

    async def _get_own_transport(self) -> Transport:
        return self._own_transport or self._keep(await io.run_blocking(_new_transport, self._config))

    def _keep(self, transport: Transport) -> Transport:
        """Store the transport, unless another caller was first; the unused one has no connections."""
        self._own_transport = self._own_transport or transport
        return self._own_transport


def _new_transport(config: ClientConfig) -> Transport:
    from ...transport import Transport

    return Transport(config)
