"""Strands Agents."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ppio_agent_models import AgentInput
from ppio_agent_runtime import ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.frameworks.promises import Promises
from tests.frameworks.runs import JSON, interrupts_of, said_in, typed
from tests.frameworks.script import Call, Script
from tests.support.raw_http import invoke

pytest.importorskip("strands", reason="strands-agents is in the environment frameworks.strands")

from strands import Agent, ToolContext, tool
from strands.models import Model


class FakeModel(Model):
    def __init__(self, script: Script) -> None:
        self.script = script

    def update_config(self, **config: Any) -> None: ...

    def get_config(self) -> Any:
        return {}

    async def structured_output(self, *_: Any, **options: Any) -> AsyncIterator[Any]:
        raise NotImplementedError
        yield

    async def stream(self, messages: Any, *_: Any, **options: Any) -> AsyncIterator[Any]:
        blocks = [block for message in messages if message["role"] == "user" for block in message["content"]]
        heard = [block["text"] for block in blocks if "text" in block]
        result = blocks[-1]["toolResult"]["content"][0]["text"] if "toolResult" in blocks[-1] else None
        yield {"messageStart": {"role": "assistant"}}
        reason, is_open = "end_turn", False
        async for said in self.script.says(heard, result):
            if isinstance(said, Call):
                if is_open:
                    yield {"contentBlockStop": {}}
                yield {"contentBlockStart": {"start": {"toolUse": {"name": said.name, "toolUseId": said.id}}}}
                for piece in said.pieces:
                    yield {"contentBlockDelta": {"delta": {"toolUse": {"input": piece}}}}
                reason, is_open = "tool_use", True
            else:
                if not is_open:
                    yield {"contentBlockStart": {"start": {}}}
                is_open = True
                yield {"contentBlockDelta": {"delta": {"text": said}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": reason}}


def clock_of(script: Script) -> Any:
    @tool
    def clock(zone: str) -> str:
        """Return the time."""
        return script.clock(zone)

    return clock


def buy_of(script: Script) -> Any:
    @tool(context=True)
    def buy(what: str, tool_context: ToolContext) -> str:
        """Buy something."""
        answer = tool_context.interrupt("buy", reason=f"Buy {what}?")
        if answer is True or answer.get("approved"):
            return script.buy(what)
        return f"not bought: {answer.get('reason')}"

    return buy


class TestStrands(Promises):
    kind = "Strands"
    made_for_four_sessions = 4

    def object(self, script: Script) -> Any:
        return Agent(model=FakeModel(script), tools=[clock_of(script)], callback_handler=None)

    def agent(self, script: Script) -> Any:
        return lambda: self.object(script)

    def asking_agent(self, script: Script) -> Any:
        return lambda: Agent(model=FakeModel(script), tools=[buy_of(script)], callback_handler=None)

    def shout(self, request: AgentInput) -> Any:
        return str(request.prompt).upper()

    def test_an_entrypoint_may_be_an_agent(self) -> None:
        for register in (PPIOAgentRuntimeApp.from_agent, PPIOAgentRuntimeApp().entrypoint):
            with pytest.raises(ConfigurationError, match="holds one conversation, so sessions can't share it"):
                register(self.object(Script()))


def test_a_session_that_waits_for_an_answer_takes_nothing_else() -> None:
    script = Script()
    with running(PPIOAgentRuntimeApp.from_agent(TestStrands().asking_agent(script))) as url:
        (question,) = interrupts_of(typed(url, {"prompt": "buy tea"}, "s"))
        refused = invoke(url, {"prompt": "hello?"}, said_in("s", **JSON))
        typed(url, {"resume": [{"interrupt_id": question["id"], "payload": True}]}, "s")

    assert refused.status == 422
    assert "send resume first" in refused.json["error"]
    assert script.bought == ["tea"]
