"""Sandboxes on the PPIO platform, over its HTTP API alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, SandboxGoneError, TemplateNotFoundError

from ..._config import ClientConfig, settle
from ..._io import _async as io
from ..._rules import (
    lifecycle,
    platform_addresses,
    platform_calls,
    platform_logs,
    platform_start,
)
from ..._rules.budget import RetryBudget
from ..._sandbox import LogPage, Sandbox, SandboxSpec
from .._auth import AuthManager
from ._control_plane import ControlPlane
from ._official import official_sandbox
from ._platform_agents import PlatformAgents
from ._platform_creation import PlatformCreation
from ._platform_making import SandboxMaking
from ._platform_register import PlatformRegister
from ._platform_templates import PlatformTemplates

if TYPE_CHECKING:
    from ppio_sandbox.core import AsyncSandbox as OfficialSandbox

    from .._transport import Transport
    from ._protocol import AgentWatch


class PlatformSandboxProvider:
    """Sandboxes on the PPIO platform. `AgentRuntimeClient` makes one where there is a key and no other provider.

    What it knows of a sandbox stands in the sandbox's metadata, so every process with the same key sees the same
    sessions. The key goes to the platform's API only; agents and envd get tokens of their own.

    Args:
        config: Addresses, credentials and limits; the environment's unless given.
        auth: The credentials, those of `config` unless given.
        transport: Returns the connections to use; it opens its own, and closes them, unless given.
        budget: The repetitions that can be afforded; that of `config` unless given.

    Raises:
        ConfigurationError: An address is none.
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
        self._addresses = platform_addresses.addresses_of(self._config)
        self._is_legacy = self._addresses.is_legacy
        self._own_transport: Transport | None = None
        self._transport = transport or self._get_own_transport
        self._api = ControlPlane(
            self._addresses.api,
            self._auth,
            self._config,
            self._transport,
            budget or RetryBudget(self._config.retry_budget),
        )
        self._making = SandboxMaking(self._api, is_legacy=self._is_legacy)
        self._templates = PlatformTemplates(self._api, self._config)
        self._agents = PlatformAgents(self._addresses, self._auth, self._config, self._transport)
        self._register = PlatformRegister(self._api, self._making, self._agents, self._templates)
        self._creation = PlatformCreation(self._making, self._agents, self._templates, self._register)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._addresses.api}>"

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the living sandbox of `spec.session_id`, or make one, in which no agent runs yet.

        Asked at once by many processes for one session, all but the oldest sandbox are ended by who made them.

        Raises:
            TemplateNotFoundError: No such template.
            SandboxCreationError: It could not be made, or the session's sandbox was made from another template.
            QuotaExceededError: The account has no room for it.
            ConfigurationError: The platform cannot make it like that.
        """
        self._auth.session_token(spec.session_id)  # before anything is made: there may be no secret for it
        return await self._creation.create(spec)

    async def start_agent(self, sandbox: Sandbox, spec: SandboxSpec) -> AgentWatch | None:
        """Start the agent in a sandbox where none runs. See `AgentStarter`."""
        if await (self._agents.is_there(sandbox) if sandbox.created else self._agents.comes(sandbox)):
            return None
        start = platform_start.start_of(await self._templates.meant(spec.template_id))
        return await self._agents.start(sandbox, spec, start, self.get)

    async def find(self, session_id: str) -> Sandbox | None:
        """Return the living sandbox of a session, running or paused, and change nothing about it."""
        living = await self._making.living(session_id)
        return await self._register.completed(living[0]) if living else None

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox as it is now; None when it has ended, or is not one of this SDK."""
        return await self._register.get(sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return every living sandbox that this SDK made under this key, whichever process made it, oldest first."""
        return await self._register.all()

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Let the sandbox live for `timeout_seconds` from now.

        Raises:
            SandboxGoneError: It has ended.
            SandboxPausedError: It sleeps.
            PlatformError: The platform did not do it.
        """
        question = platform_calls.set_timeout(sandbox_id, timeout_seconds)
        reply = await self._api.ask(question, known={404, 409})
        found = await self.get(sandbox_id)
        if found is not None and found.state == "paused":
            raise lifecycle.asleep(found.session_id)
        if found is None or reply.status == 404:
            raise self._gone(sandbox_id)
        if reply.status == 409:
            raise self._api.failure(question, reply)
        return found

    async def pause(self, sandbox_id: str) -> Sandbox:
        """Put the sandbox to sleep with its memory; a paused one stays as it is.

        Raises:
            SandboxGoneError: It has ended.
            PlatformError: The platform did not do it.
        """
        question = platform_calls.pause(sandbox_id, is_legacy=self._is_legacy)
        reply = await self._api.ask(question, known={404, 409})  # 409: it sleeps already
        found = await self.get(sandbox_id)
        if found is None:
            raise self._gone(sandbox_id)
        if found.state != "paused" and reply.status in {404, 409}:
            raise self._api.failure(question, reply)
        return found

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Wake the sandbox for as long as it was made for; a running one stays as it is.

        Raises:
            SandboxGoneError: It has ended.
        """
        seen = await self._register.seen(sandbox_id)
        if seen is None:
            raise self._gone(sandbox_id)
        if seen.state == "running":
            return await self._register.with_token(seen)
        made = await self._making.connected(sandbox_id, seen.marks.life_seconds)
        if made is None:
            raise self._gone(sandbox_id)
        self._agents.know(made)
        return self._register.as_awake(seen)

    async def kill(self, sandbox_id: str) -> bool:
        """End the sandbox and everything in it; False when it had ended before."""
        ended = await self._making.kill(sandbox_id)
        self._agents.forget(sandbox_id)
        return ended

    async def logs(self, session_id: str, cursor: str | None = None) -> LogPage | None:
        """Return what the processes in the sandbox of a living session have written; None when there is none."""
        living = await self._making.living(session_id)
        if not living:
            return None
        sandbox_id, (begin, _) = living[0].made.sandbox_id, platform_logs.since(cursor)
        reply = await self._api.ask(platform_calls.logs(sandbox_id, begin), known={404})
        if reply.status == 404:
            reply = await self._api.ask(platform_calls.older_logs(sandbox_id, begin), known={404})
        return None if reply.status == 404 else platform_logs.page_of(reply.value, cursor)

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return every template of the account."""
        return await self._templates.all()

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template: by the platform's id, an alias, or what the vendor's tools call the agent.

        Raises:
            TemplateNotFoundError: There is none.
        """
        found = await self._templates.meant(template_id)
        if found is None:
            raise TemplateNotFoundError(f"the platform lists no template {template_id!r} for this key")
        return found

    async def delete_template(self, template_id: str) -> bool:
        """Delete a template; sandboxes that were made from it live on. False when there was none."""
        reply = await self._api.ask(platform_calls.delete_template(template_id), known={404})
        self._templates.forget()
        return reply.status != 404 or reply.repeated

    def official_sandbox(self, sandbox: Sandbox) -> OfficialSandbox:
        """Return the official SDK's handle of a sandbox. See `OfficialSource`."""
        known = self._agents.known(sandbox.sandbox_id)
        if known is None:
            raise ConfigurationError(
                f"what the official SDK needs of sandbox {sandbox.sandbox_id!r} was not asked of the platform yet; "
                "`get_status()` of its session does that"
            )
        return official_sandbox(known, self._addresses, self._auth.fixed_key)

    async def close(self) -> None:
        """Close the provider's own connections. Sandboxes live on."""
        transport, self._own_transport = self._own_transport, None
        if transport is not None:
            await transport.close()

    def _gone(self, sandbox_id: str) -> SandboxGoneError:
        self._agents.forget(sandbox_id)
        return SandboxGoneError(f"sandbox {sandbox_id!r} was closed or its time is over; create a new session")

    async def _get_own_transport(self) -> Transport:
        return self._own_transport or self._keep(await io.run_blocking(_new_transport, self._config))

    def _keep(self, transport: Transport) -> Transport:
        """Keep the transport of whoever was first; one that nobody has used yet holds nothing open."""
        self._own_transport = self._own_transport or transport
        return self._own_transport


def _new_transport(config: ClientConfig) -> Transport:
    from .._transport import Transport

    return Transport(config)
