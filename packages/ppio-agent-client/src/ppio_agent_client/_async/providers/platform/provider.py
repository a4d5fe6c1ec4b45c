"""Sandboxes on the PPIO platform, over its HTTP API alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import TemplateNotFoundError

from ...._config import ClientConfig, settle
from ...._core import lifecycle
from ...._core.platform.start import agent_start
from ...._core.platform.urls import platform_urls
from ...._core.retry import RetryBudget
from ...._io import _async as io
from ...._sandbox import LogPage, Sandbox, SandboxSpec
from ...auth import AuthManager
from .api import PlatformApi
from .create import SandboxCreator
from .sandboxes import PlatformSandboxes
from .startup import AgentStartup
from .templates import PlatformTemplates

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

    from ...transport import Transport
    from ..protocol import AgentWatch


class PlatformSandboxProvider:
    """Sandboxes on the PPIO platform. `AgentRuntimeClient` makes one where there is a key and no other provider.

    What it knows of a sandbox stands in the sandbox's metadata, so every process with the same key sees the same
    sessions. The key goes to the platform's API only; agents and envd get tokens of their own.

    Args:
        config: Addresses, credentials and limits; the environment's unless given.
        auth: The credentials, those of `config` unless given.
        transport: Returns the connections to use; it opens its own, and closes them, unless given.
        budget: The retries that can be afforded; that of `config` unless given.

    Raises:
        ConfigurationError: An address isn't one.
    """

    def __init__(
        self,
        config: ClientConfig | None = None,
        *,
        auth: AuthManager | None = None,
        transport: Callable[[], Awaitable[Transport]] | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._config = settle(config, {})
        self._auth = auth or AuthManager(
            self._config.api_key,
            self._config.api_secret,
            signer=self._config.signer,
            session_secret=self._config.session_secret,
        )
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
        """Return the living sandbox of `spec.session_id`, or create one, in which no agent runs yet.

        When many processes ask for one session at once, each ends what it made unless that is the oldest.

        Raises:
            TemplateNotFoundError: No such template.
            SandboxCreationError: It could not be made, or the session's sandbox was made from another template.
            QuotaExceededError: The account has no room for it.
            ConfigurationError: The platform cannot make it like that.
        """
        self._auth.session_token(spec.session_id)  # before anything is made: there may be no secret for it
        return await self._creator.create(spec)

    async def start_agent(self, sandbox: Sandbox, spec: SandboxSpec) -> AgentWatch | None:
        """Start the agent in a sandbox where none runs. See `AgentStarter`."""
        startup = self._startup
        if await (startup.is_running(sandbox) if sandbox.created else startup.is_coming(sandbox)):
            return None
        start = agent_start(await self._templates.resolve(spec.template_id))
        return await startup.start(sandbox, spec, start, self._auth.session_token(spec.session_id))

    async def find(self, session_id: str) -> Sandbox | None:
        """Return the living sandbox of a session, running or paused, and change nothing about it."""
        living = await self._sandboxes.living(session_id)
        return await self._sandboxes.complete(living[0]) if living else None

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox as it is now; None when it has ended, or isn't one of this SDK."""
        return await self._sandboxes.get(sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return every living sandbox that this SDK made under this key, whichever process made it, oldest first."""
        return await self._sandboxes.list_all()

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Let the sandbox live for `timeout_seconds` from now.

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
        """Pause the sandbox with its memory; a paused one stays as it is.

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
        """Wake the sandbox for as long as it was made for; a running one stays as it is.

        Raises:
            SandboxGoneError: It has ended.
        """
        return await self._sandboxes.resume(sandbox_id)

    async def kill(self, sandbox_id: str) -> bool:
        """End the sandbox and everything in it; False when it had ended before."""
        ended = await self._api.kill(sandbox_id)
        self._sandboxes.forget(sandbox_id)
        return ended

    async def logs(self, session_id: str, cursor: str | None = None) -> LogPage | None:
        """Return what the processes in the sandbox of a living session have written; None when there is none."""
        living = await self._sandboxes.living(session_id)
        return await self._api.logs(living[0].sandbox_id, cursor) if living else None

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return every template of the account."""
        return await self._templates.fetch()

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template: by the platform's id, an alias, or what the vendor's tools call the agent.

        Raises:
            TemplateNotFoundError: There is none.
        """
        found = await self._templates.resolve(template_id)
        if found is None:
            raise TemplateNotFoundError(f"the platform lists no template {template_id!r} for this key")
        return found

    async def delete_template(self, template_id: str) -> bool:
        """Delete a template; sandboxes that were made from it live on. False when there was none."""
        deleted = await self._api.delete_template(template_id)
        self._templates.forget()
        return deleted

    def official_sandbox(self, sandbox: Sandbox) -> OfficialSandbox:
        """Return the official SDK's handle of a sandbox. See `OfficialSource`."""
        return self._sandboxes.official(sandbox.sandbox_id)

    async def close(self) -> None:
        """Close the provider's own connections. Sandboxes live on."""
        transport, self._own_transport = self._own_transport, None
        if transport is not None:
            await transport.close()

    async def _get_own_transport(self) -> Transport:
        return self._own_transport or self._keep(await io.run_blocking(_new_transport, self._config))

    def _keep(self, transport: Transport) -> Transport:
        """Keep the transport of whoever was first; one that nobody has used yet holds nothing open."""
        self._own_transport = self._own_transport or transport
        return self._own_transport


def _new_transport(config: ClientConfig) -> Transport:
    from ...transport import Transport

    return Transport(config)
