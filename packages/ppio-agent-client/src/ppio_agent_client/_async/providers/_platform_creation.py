"""The sandbox of a session on the PPIO platform: joined where it lives, else made; the oldest, where many are made."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ppio_agent_models import PPIOAgentRuntimeError, SandboxCreationError, TemplateNotFoundError

from ..._io import _async as io
from ..._rules import lifecycle, platform_start
from ..._rules.platform_answers import MadeSandbox, SeenSandbox
from ..._sandbox import Sandbox, SandboxSpec

if TYPE_CHECKING:
    from ._platform_agents import PlatformAgents
    from ._platform_making import SandboxMaking
    from ._platform_register import PlatformRegister
    from ._platform_templates import PlatformTemplates

logger = logging.getLogger("ppio_agent_client")


class PlatformCreation:
    """Gives each session its sandbox.

    Args:
        making: Makes sandboxes and finds them.
        agents: The ways to them.
        templates: What a name of a template means.
        register: Sandboxes as the client sees them.
    """

    def __init__(
        self, making: SandboxMaking, agents: PlatformAgents, templates: PlatformTemplates, register: PlatformRegister
    ) -> None:
        self._making = making
        self._agents = agents
        self._templates = templates
        self._register = register

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the living sandbox of a session, or a new one. See `PlatformSandboxProvider.create`."""
        living = [] if spec.is_new else await self._making.living(spec.session_id)
        if living:
            return await self._join(living[0], spec)
        made = await self._make(spec)
        if not spec.is_new:
            try:
                winner = await self._winner(spec.session_id, made)
            except BaseException:
                await io.to_the_end(self._dropped(made))
                raise
            if winner is not None:
                await io.to_the_end(self._dropped(made))
                return await self._join(winner, spec)
        self._agents.know(made)
        return self._register.as_new(made, spec)

    async def _make(self, spec: SandboxSpec) -> MadeSandbox:
        known = self._templates.remembered(spec.template_id)
        if spec.memory_limit is not None or spec.cpu_limit is not None:
            known = known or await self._templates.meant(spec.template_id)
            platform_start.check_limits(spec.memory_limit, spec.cpu_limit, known)
        try:
            return await self._making.make(spec, spec.template_id if known is None else known.template_id)
        except TemplateNotFoundError:
            # The vendor's tools have names of their own for agents; only the list knows which template they mean.
            meant = None if known is not None else await self._templates.meant(spec.template_id)
            if meant is None or meant.template_id == spec.template_id:
                raise
            return await self._making.make(spec, meant.template_id)

    async def _winner(self, session_id: str, made: MadeSandbox) -> SeenSandbox | None:
        """Return the sandbox that was made for the same session before, at the same time, by somebody else."""
        living = await self._making.living(session_id)
        ids = [each.made.sandbox_id for each in living]
        return living[0] if made.sandbox_id in ids and ids[0] != made.sandbox_id else None

    async def _dropped(self, made: MadeSandbox) -> bool:
        """End a sandbox that nobody will use, and return whether that went well."""
        try:
            return await self._making.kill(made.sandbox_id)
        except PPIOAgentRuntimeError:
            logger.warning("sandbox %s is not used and could not be ended", made.sandbox_id, exc_info=True)
            return False

    async def _join(self, seen: SeenSandbox, spec: SandboxSpec) -> Sandbox:
        if not seen.is_made_from(spec.template_id):
            meant = await self._templates.meant(spec.template_id)
            if meant is None or meant.template_id != seen.made.template_id:
                raise lifecycle.other_template(spec.session_id, seen.made.template_id, spec.template_id)
        found = await self._register.completed(seen)
        if found is None:
            raise SandboxCreationError(
                f"the sandbox of session {spec.session_id!r} ended while it was joined; try again", retryable=True
            )
        return replace(found, created=False)
