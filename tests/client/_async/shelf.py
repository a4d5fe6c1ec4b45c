"""A provider as somebody else might write one: its sandboxes are addresses that a test puts on a shelf."""

from __future__ import annotations

import asyncio  # async-only
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ppio_agent_client import (
    AgentClientError,
    AgentTemplate,
    Sandbox,
    SandboxGoneError,
    SandboxSpec,
    TemplateNotFoundError,
)
from tests.support.raw_server import OK, Caller, RawServer, answer

BORN = datetime(2026, 1, 1, tzinfo=UTC)
HEALTHY = answer(b'{"status":"Healthy"}')


def agent(caller: Caller) -> None:
    """A healthy agent that always says 42."""
    while True:
        caller.send(HEALTHY if caller.read_request().line.startswith("GET /ping") else OK)


def invoked(server: RawServer) -> int:
    return sum(request.line.startswith("POST") for request in server.requests)


class Shelf:
    """Sandboxes at one address.

    Attributes:
        url: Where agents listen.
        sandboxes: Every sandbox, by its id, as it is now.
        calls: The verbs that were called, in order.
        templates: What there is to make sandboxes from.
    """

    def __init__(self, url: str = "http://127.0.0.1:1", *, start_timeout_seconds: float = 30.0) -> None:
        self.url = url
        self.sandboxes: dict[str, Sandbox] = {}
        self.specs: list[SandboxSpec] = []
        self.calls: list[str] = []
        self.templates = ["t-1"]
        self.closed = False
        self.refuses_to_kill = False
        self.kill_seconds = 0.0
        self.ends_at_once: tuple[int, str] | None = None
        self._start_timeout_seconds = start_timeout_seconds

    def put(self, session_id: str, template_id: str = "t-1") -> Sandbox:
        """Put a sandbox of somebody else on the shelf."""
        sandbox = Sandbox(
            sandbox_id=f"b-{len(self.sandboxes) + 1}",
            session_id=session_id,
            template_id=template_id,
            url=self.url,
            state="running",
            created_at=BORN,
            expires_at=BORN + timedelta(seconds=600),
            start_timeout_seconds=self._start_timeout_seconds,
            headers={"X-Traffic": "ticket"},
        )
        self.sandboxes[sandbox.sandbox_id] = sandbox
        return sandbox

    def change(self, sandbox_id: str, **facts: object) -> Sandbox:
        """Let something happen to a sandbox."""
        self.sandboxes[sandbox_id] = replace(self.sandboxes[sandbox_id], **facts)  # type: ignore[arg-type]
        return self.sandboxes[sandbox_id]

    async def create(self, spec: SandboxSpec) -> Sandbox:
        self.calls.append("create")
        self.specs.append(spec)
        joined = self._living(spec.session_id)
        if joined is not None:
            return replace(joined, created=False)
        if spec.template_id not in self.templates:
            raise TemplateNotFoundError(f"there is no template {spec.template_id!r}")
        made = self.put(spec.session_id, spec.template_id)
        if self.ends_at_once is not None:
            exit_code, output = self.ends_at_once
            self.change(made.sandbox_id, state="ended", exit_code=exit_code, output=output)
        return made

    async def find(self, session_id: str) -> Sandbox | None:
        self.calls.append("find")
        return self._living(session_id)

    async def get(self, sandbox_id: str) -> Sandbox | None:
        self.calls.append("get")
        return self.sandboxes.get(sandbox_id)

    async def list_sandboxes(self) -> list[Sandbox]:
        self.calls.append("list_sandboxes")
        return [sandbox for sandbox in self.sandboxes.values() if sandbox.state != "ended"]

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        self.calls.append(f"extend {timeout_seconds:g}")
        return self.change(sandbox_id, expires_at=BORN + timedelta(seconds=timeout_seconds))

    async def pause(self, sandbox_id: str) -> Sandbox:
        return self.change(sandbox_id, state="paused")

    async def resume(self, sandbox_id: str) -> Sandbox:
        if self.sandboxes[sandbox_id].state == "ended":
            raise SandboxGoneError("it has ended")
        return self.change(sandbox_id, state="running")

    async def kill(self, sandbox_id: str) -> bool:
        self.calls.append(f"kill {sandbox_id}")
        if self.refuses_to_kill:
            raise AgentClientError("the shelf is locked")
        await asyncio.sleep(self.kill_seconds)  # async-only: who is called in a thread keeps that thread anyway
        lived = self.sandboxes[sandbox_id].state != "ended"
        self.change(sandbox_id, state="ended", exit_code=-9)
        return lived

    async def list_templates(self) -> list[AgentTemplate]:
        self.calls.append("list_templates")
        return [AgentTemplate(template_id=name, name=name) for name in self.templates]

    async def get_template(self, template_id: str) -> AgentTemplate:
        self.calls.append("get_template")
        if template_id not in self.templates:
            raise TemplateNotFoundError(f"there is no template {template_id!r}")
        return AgentTemplate(template_id=template_id, name=template_id)

    async def close(self) -> None:
        self.closed = True

    def _living(self, session_id: str) -> Sandbox | None:
        living = (each for each in self.sandboxes.values() if each.session_id == session_id and each.state != "ended")
        return next(living, None)
