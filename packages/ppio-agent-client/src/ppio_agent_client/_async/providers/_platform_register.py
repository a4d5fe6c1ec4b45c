"""Sandboxes of the PPIO platform as the client sees them: what the platform says, and what leads to them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ..._io import _async as io
from ..._rules import platform_answers, platform_calls, platform_marks, platform_start
from ..._rules.platform_answers import MadeSandbox, SeenSandbox
from ..._sandbox import Sandbox, SandboxSpec

if TYPE_CHECKING:
    from ._control_plane import ControlPlane
    from ._platform_agents import PlatformAgents
    from ._platform_making import SandboxMaking
    from ._platform_templates import PlatformTemplates

_TOKEN_LIFE_SECONDS = 1
"""A running sandbox is asked for its traffic token with this life, which is never more than it has."""


class PlatformRegister:
    """Finds sandboxes.

    Args:
        api: The control plane.
        making: Lists them and connects to them.
        agents: The ways to them.
        templates: Those that were listed say how long a start may take.
    """

    def __init__(
        self, api: ControlPlane, making: SandboxMaking, agents: PlatformAgents, templates: PlatformTemplates
    ) -> None:
        self._api = api
        self._making = making
        self._agents = agents
        self._templates = templates

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox as it is now; None when it has ended, or is not one of this SDK."""
        seen = await self.seen(sandbox_id)
        return None if seen is None else await self.with_token(seen)

    async def all(self) -> list[Sandbox]:
        """Return every living sandbox of this SDK, oldest first, as far as a list tells."""
        marks = {platform_marks.MARKER: platform_marks.MARKER_VALUE}
        return [self.as_sandbox(seen, is_partial=self.lacks(seen)) for seen in await self._making.listed(marks)]

    async def seen(self, sandbox_id: str) -> SeenSandbox | None:
        """Return what the platform says of a sandbox now; None when it has ended, or is not one of this SDK."""
        reply = await self._api.ask(platform_calls.info(sandbox_id), known={404})
        seen = None
        if reply.status != 404:
            seen = platform_answers.seen_sandbox(reply.value, is_legacy=self._making.is_legacy)
        if seen is None:
            self._agents.forget(sandbox_id)
            return None
        self._agents.know(seen.made)
        return seen

    async def completed(self, listed: SeenSandbox) -> Sandbox | None:
        """Return a listed sandbox with all that calls to it need; None when it has ended meanwhile."""
        return await self.get(listed.made.sandbox_id) if self.lacks(listed) else self.as_sandbox(listed)

    async def with_token(self, seen: SeenSandbox) -> Sandbox:
        """Return the sandbox with its traffic token, which only `connect` tells."""
        if seen.marks.is_private and seen.state == "running" and not self._agents.has_token(seen.made.sandbox_id):
            made = await self._making.connected(seen.made.sandbox_id, _TOKEN_LIFE_SECONDS)
            if made is not None:
                self._agents.know(made)
        return self.as_sandbox(seen)

    def lacks(self, listed: SeenSandbox) -> bool:
        """Tell whether a list leaves something out that calls to this sandbox need."""
        if listed.marks.is_private and not self._agents.has_token(listed.made.sandbox_id):
            return True
        return self._agents.known(listed.made.sandbox_id) is None

    def as_new(self, made: MadeSandbox, spec: SandboxSpec) -> Sandbox:
        """Return a sandbox that was just made."""
        url, headers = self._agents.way_to(made.sandbox_id, spec.session_id)
        now = _now()
        return Sandbox(
            sandbox_id=made.sandbox_id,
            session_id=spec.session_id,
            template_id=made.template_id or spec.template_id,
            url=url,
            state="running",
            created_at=now,
            expires_at=now + timedelta(seconds=spec.timeout_seconds),
            life_seconds=spec.timeout_seconds,
            wakes=spec.auto_resume,
            start_timeout_seconds=self._start_seconds(spec.template_id),
            headers=headers,
            metadata=dict(spec.metadata),
        )

    def as_sandbox(self, seen: SeenSandbox, *, is_partial: bool = False) -> Sandbox:
        """Return a sandbox as the platform has told of it."""
        url, headers = self._agents.way_to(seen.made.sandbox_id, seen.marks.session_id)
        return Sandbox(
            sandbox_id=seen.made.sandbox_id,
            session_id=seen.marks.session_id,
            template_id=seen.made.template_id or seen.marks.template,
            url=url,
            state=seen.state,
            created_at=seen.started_at,
            expires_at=None if seen.state == "paused" else seen.ends_at,
            life_seconds=seen.marks.life_seconds,
            wakes=seen.marks.wakes,
            start_timeout_seconds=self._start_seconds(seen.made.template_id),
            headers=headers,
            metadata=seen.marks.metadata,
            is_partial=is_partial,
        )

    def as_awake(self, seen: SeenSandbox) -> Sandbox:
        """Return a sandbox that was just woken for as long as it was made for."""
        ends_at = _now() + timedelta(seconds=seen.marks.life_seconds)
        return self.as_sandbox(replace(seen, state="running", ends_at=ends_at))

    def _start_seconds(self, template_id: str) -> float:
        return platform_start.start_of(self._templates.remembered(template_id)).timeout_seconds


def _now() -> datetime:
    return datetime.fromtimestamp(io.unix_now(), UTC)
