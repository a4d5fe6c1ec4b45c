"""An agent that takes its time, and tells a test what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp, RequestContext
from tests.support.gates import Count, Gate


class Worker:
    """An agent that reports, waits at a gate, goes on, and tells when it was stopped."""

    def __init__(self) -> None:
        self.app = PPIOAgentRuntimeApp()
        self.app.entrypoint(self.work)
        self.began = Count()
        self.stopped = Count()
        self.gate = Gate()

    def work(self, payload: dict[str, Any], context: RequestContext) -> Any:
        self.began.add()
        match payload.get("do"):
            case "fail":
                raise ValueError("a secret of the agent")
            case "refuse":
                raise AgentError("no such order", status_code=404, error_type="OrderNotFound")
            case "answer":
                return payload["value"]
        return self.talk(context)

    async def talk(self, context: RequestContext) -> AsyncGenerator[str, None]:
        try:
            yield "one"
            context.progress({"part": 1, "of": 2})
            await self.gate.passed()
            yield "two"
        except asyncio.CancelledError:
            self.stopped.add()
            raise
