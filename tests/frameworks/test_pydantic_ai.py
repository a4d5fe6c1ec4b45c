"""Pydantic AI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ppio_agent_models import AgentInput
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.frameworks.promises import Promises
from tests.frameworks.runs import ask, interrupts_of, text_of, typed
from tests.frameworks.script import Call, Script

pytest.importorskip("pydantic_ai", reason="pydantic-ai-slim is in the environment frameworks.pydantic-ai")

from pydantic import BaseModel
from pydantic_ai import Agent, CallDeferred, DeferredToolRequests, Tool
from pydantic_ai.models.function import DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel as FixedModel


def fake_model(script: Script) -> FunctionModel:
    async def stream(messages: list[Any], _info: Any) -> AsyncIterator[Any]:
        parts = [part for message in messages for part in message.parts]
        heard = [
            part.content if isinstance(part.content, str) else part.content[0]
            for part in parts
            if part.part_kind == "user-prompt"
        ]
        result = str(parts[-1].content) if parts[-1].part_kind == "tool-return" else None
        async for said in script.says(heard, result):
            if isinstance(said, Call):
                first, second = said.pieces
                yield {0: DeltaToolCall(name=said.name, json_args=first, tool_call_id=said.id)}
                yield {0: DeltaToolCall(json_args=second)}
            else:
                yield said

    return FunctionModel(stream_function=stream)


class TestPydanticAI(Promises):
    kind = "Pydantic AI"

    def agent(self, script: Script) -> Any:
        return Agent(fake_model(script), tools=[Tool(script.clock)])

    def asking_agent(self, script: Script) -> Any:
        tools = [Tool(script.buy, requires_approval=True)]
        return Agent(fake_model(script), output_type=[str, DeferredToolRequests], tools=tools)

    def shout(self, request: AgentInput) -> Any:
        return str(request.prompt).upper()


def test_a_call_that_somebody_else_makes_is_answered_with_its_result() -> None:
    def buy(what: str) -> str:
        raise CallDeferred

    agent = Agent(fake_model(Script()), output_type=[str, DeferredToolRequests], tools=[Tool(buy)])
    with running(PPIOAgentRuntimeApp.from_agent(agent)) as url:
        (question,) = interrupts_of(typed(url, {"prompt": "buy tea"}, "s"))
        resume = [{"interrupt_id": question["id"], "payload": "tea from elsewhere"}]
        said = text_of(typed(url, {"resume": resume}, "s"))

    assert question["reason"] == "input_required"
    assert said == "It is tea from elsewhere."


def test_an_output_that_is_no_text_is_the_result() -> None:
    class City(BaseModel):
        name: str

    agent = Agent(FixedModel(custom_output_args={"name": "Rome"}), output_type=City)
    with running(PPIOAgentRuntimeApp.from_agent(agent)) as url:
        assert ask(url, "where?") == {"name": "Rome"}
