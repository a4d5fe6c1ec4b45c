"""One agent for all protocols: it talks, reasons, uses its own tool and the caller's, asks, and fails when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any

from ppio_agent_models import (
    AgentError,
    AgentInput,
    Interrupt,
    ReasoningMessageContentEvent,
    RunFinishedEvent,
    RunOutcome,
    StateSnapshotEvent,
    ToolCallArgsEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running

TEXT = ["Let me ", "see: ", 'it is "noon".\n\u2028']
USAGE = [{"model": "m", "inputTokens": 3, "outputTokens": 4}]


class Clock:
    """What it was asked, under which ids, and how often it was closed."""

    def __init__(self) -> None:
        self.asked: list[AgentInput] = []
        self.contexts: list[RequestContext] = []
        self.closed = 0

    async def __call__(self, asked: AgentInput, context: RequestContext) -> AsyncIterator[Any]:
        self.asked.append(asked)
        self.contexts.append(context)
        try:
            async for said in self._said(asked):
                yield said
        finally:
            self.closed += 1

    async def _said(self, asked: AgentInput) -> AsyncIterator[Any]:
        if asked.resume:
            yield f"You said {asked.resume[0].payload}."
            return
        if asked.prompt == "fail at once":
            raise AgentError("No clock.", status_code=418)
        yield TEXT[0]
        if asked.prompt == "wait":
            await asyncio.Event().wait()
        if asked.prompt == "fail later":
            raise AgentError("The clock stopped.", status_code=418)
        yield TEXT[1]
        yield ReasoningMessageContentEvent(delta="A clock would help.")
        if asked.tools and asked.messages[-1].get("role") == "user":
            yield ToolCallStartEvent(tool_call_id="theirs", tool_call_name=asked.tools[0]["name"])
            yield ToolCallArgsEvent(tool_call_id="theirs", delta='{"city": ')
            yield ToolCallArgsEvent(tool_call_id="theirs", delta='"Rome"}')
            return
        yield ToolCallStartEvent(tool_call_id="own", tool_call_name="clock")
        yield ToolCallArgsEvent(tool_call_id="own", delta='{"zone": "utc"}')
        yield ToolCallResultEvent(tool_call_id="own", content='{"hour": 12}')
        yield StateSnapshotEvent(snapshot={"looked": 1})
        yield TEXT[2]
        outcome = None
        if asked.prompt == "ask":
            outcome = RunOutcome(type="interrupt", interrupts=[Interrupt(id="q", message="Right?")])
        yield RunFinishedEvent(outcome=outcome, usage=USAGE)


def serving(agent: Any, protocols: list[str], **settings: Any) -> AbstractContextManager[str]:
    """Serve an agent by some protocols, and return its address."""
    app = PPIOAgentRuntimeApp(AgentConfig(protocols=protocols, agent_name="clock", host="127.0.0.1", **settings))
    app.entrypoint(agent)
    return running(app)
