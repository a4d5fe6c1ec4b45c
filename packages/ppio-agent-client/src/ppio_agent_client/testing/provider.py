"""Sandboxes that don't really exist, for sessions with a fake agent."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import ppio_agent_models as models
from ppio_agent_models import SandboxGoneError

from .._sandbox import Sandbox, SandboxSpec


class SyncFakeSandboxProvider:
    """A provider whose sandboxes all have the same agent. Any template ID is accepted.

    Args:
        url: The URL of the agent.

    Attributes:
        sandboxes: The running and paused ones, by ID.
    """

    def __init__(self, url: str) -> None:
        self.sandboxes: dict[str, Sandbox] = {}
        self._url = url
        self._numbers = itertools.count(1)

    def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the sandbox of a session, or create one."""
        if (found := self.find(spec.session_id)) is not None:
            return replace(found, created=False)
        now = datetime.now(UTC)
        sandbox = Sandbox(
            sandbox_id=f"sandbox-{next(self._numbers)}",
            session_id=spec.session_id,
            template_id=spec.template_id,
            url=self._url,
            state="running",
            created_at=now,
            expires_at=now + timedelta(seconds=spec.timeout_seconds),
            life_seconds=spec.timeout_seconds,
            metadata=spec.metadata,
        )
        self.sandboxes[sandbox.sandbox_id] = sandbox
        return sandbox

    def find(self, session_id: str) -> Sandbox | None:
        """Return the sandbox of a session."""
        return next((each for each in self.sandboxes.values() if each.session_id == session_id), None)

    def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox, if it is running."""
        return self.sandboxes.get(sandbox_id)

    def list_sandboxes(self) -> list[Sandbox]:
        """Return every sandbox."""
        return list(self.sandboxes.values())

    def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Set the time to live of a sandbox, from now."""
        return self._change(sandbox_id, expires_at=datetime.now(UTC) + timedelta(seconds=timeout_seconds))

    def pause(self, sandbox_id: str) -> Sandbox:
        """Pause a sandbox: its session's calls fail until it is resumed."""
        return self._change(sandbox_id, state="paused", expires_at=None)

    def resume(self, sandbox_id: str) -> Sandbox:
        """Resume a sandbox."""
        return self._change(sandbox_id, state="running", expires_at=datetime.now(UTC) + timedelta(seconds=300))

    def kill(self, sandbox_id: str) -> bool:
        """End a sandbox; False if it had already ended. Tests can call it to simulate that."""
        return self.sandboxes.pop(sandbox_id, None) is not None

    def list_templates(self) -> list[models.AgentTemplate]:
        """Return the templates that sandboxes were made from."""
        return [self.get_template(name) for name in sorted({each.template_id for each in self.sandboxes.values()})]

    def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return a template of this id."""
        return models.AgentTemplate(template_id=template_id, name=template_id)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _change(self, sandbox_id: str, **changes: object) -> Sandbox:
        if sandbox_id not in self.sandboxes:
            raise SandboxGoneError(f"sandbox {sandbox_id!r} has ended")
        self.sandboxes[sandbox_id] = replace(self.sandboxes[sandbox_id], **changes)  # type: ignore[arg-type]
        return self.sandboxes[sandbox_id]


class FakeSandboxProvider:
    """The same for the async client.

    Attributes:
        blocking: The provider that does the work; tests look at its `sandboxes`.
    """

    def __init__(self, url: str) -> None:
        self.blocking: SyncFakeSandboxProvider = SyncFakeSandboxProvider(url)

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the sandbox of a session, or create one."""
        return self.blocking.create(spec)

    async def find(self, session_id: str) -> Sandbox | None:
        """Return the sandbox of a session."""
        return self.blocking.find(session_id)

    async def get(self, sandbox_id: str) -> Sandbox | None:
        """Return a sandbox, if it is running."""
        return self.blocking.get(sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return every sandbox."""
        return self.blocking.list_sandboxes()

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Extend the time to live of a sandbox."""
        return self.blocking.extend(sandbox_id, timeout_seconds)

    async def pause(self, sandbox_id: str) -> Sandbox:
        """Pause a sandbox."""
        return self.blocking.pause(sandbox_id)

    async def resume(self, sandbox_id: str) -> Sandbox:
        """Resume a sandbox."""
        return self.blocking.resume(sandbox_id)

    async def kill(self, sandbox_id: str) -> bool:
        """End a sandbox."""
        return self.blocking.kill(sandbox_id)

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return the templates that sandboxes were made from."""
        return self.blocking.list_templates()

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return a template of this id."""
        return self.blocking.get_template(template_id)

    async def close(self) -> None:
        """Do nothing: nothing is open."""
