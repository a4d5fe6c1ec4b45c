"""OpenAI Agents SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ppio_agent_models import AgentInput
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.frameworks.promises import Promises
from tests.frameworks.runs import ask, typed
from tests.frameworks.script import Call, Script

pytest.importorskip("agents", reason="openai-agents is in the environment frameworks.openai-agents")

from agents import Agent, SQLiteSession, function_tool, set_tracing_disabled
from agents.models.interface import Model
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionToolCall,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
)

set_tracing_disabled(True)


class FakeModel(Model):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def get_response(self, *_: Any, **options: Any) -> Any:
        raise NotImplementedError

    async def stream_response(self, _instructions: Any, asked: Any, *_: Any, **options: Any) -> AsyncIterator[Any]:
        heard = [item["content"] for item in asked if item.get("role") == "user"]
        heard = [text if isinstance(text, str) else text[0]["text"] for text in heard]
        last = asked[-1]
        result = last["output"] if last.get("type") == "function_call_output" else None
        output: list[Any] = []
        text, message_id = "", f"message-{len(asked)}"
        async for said in self.script.says(heard, result):
            if isinstance(said, Call):
                for event in (*_message(message_id, text), *_call(said)):
                    yield event
                    if event.type == "response.output_item.done":
                        output.append(event.item)
                text = ""
            else:
                text += said
                yield ResponseTextDeltaEvent(
                    type="response.output_text.delta",
                    delta=said,
                    item_id=message_id,
                    output_index=0,
                    content_index=0,
                    sequence_number=0,
                    logprobs=[],
                )
        for event in _message(message_id, text):
            yield event
            output.append(event.item)
        response = Response(
            id="r", created_at=0, model="fake", object="response", output=output,
            parallel_tool_calls=False, tool_choice="auto", tools=[],
        )  # fmt: skip
        yield ResponseCompletedEvent(type="response.completed", sequence_number=0, response=response)


def _message(message_id: str, text: str) -> list[Any]:
    part = ResponseOutputText(type="output_text", text=text, annotations=[])
    item = ResponseOutputMessage(id=message_id, type="message", role="assistant", status="completed", content=[part])
    kind: Any = "response.output_item.done"
    return [ResponseOutputItemDoneEvent(type=kind, item=item, output_index=0, sequence_number=0)] if text else []


def _call(call: Call) -> list[Any]:
    item = ResponseFunctionToolCall(type="function_call", id="item", call_id=call.id, name=call.name, arguments="")
    kind: Any = "response.function_call_arguments.delta"
    return [
        ResponseOutputItemAddedEvent(type="response.output_item.added", item=item, output_index=1, sequence_number=0),
        *[
            ResponseFunctionCallArgumentsDeltaEvent(
                type=kind, delta=piece, item_id="item", output_index=1, sequence_number=0
            )
            for piece in call.pieces
        ],
        ResponseOutputItemDoneEvent(
            type="response.output_item.done",
            item=item.model_copy(update={"arguments": "".join(call.pieces)}),
            output_index=1,
            sequence_number=0,
        ),
    ]


class TestOpenAIAgents(Promises):
    kind = "OpenAI Agents"

    def agent(self, script: Script) -> Any:
        return Agent(name="clock", model=FakeModel(script), tools=[function_tool(script.clock)])

    def asking_agent(self, script: Script) -> Any:
        return Agent(name="shop", model=FakeModel(script), tools=[function_tool(script.buy, needs_approval=True)])

    def shout(self, request: AgentInput) -> Any:
        return [{"role": "user", "content": str(request.prompt).upper()}]


def test_a_session_of_ones_own_keeps_the_conversation() -> None:
    kept: dict[str, SQLiteSession] = {}

    def session(session_id: str) -> SQLiteSession:
        return kept.setdefault(session_id, SQLiteSession(session_id))

    agents = [Agent(name="a", model=FakeModel(Script())) for _ in range(2)]
    answers = []
    for agent, prompt in zip(agents, ("one", "two"), strict=True):  # as after a restart
        with running(PPIOAgentRuntimeApp.from_agent(agent, session=session)) as url:
            answers.append(ask(url, prompt, "s"))
    for each in kept.values():
        each.close()

    assert answers == ["I heard one", "I heard one/two"]


def test_an_agent_that_takes_over_is_a_step() -> None:
    class Router(Script):
        async def says(self, heard: Any, result: Any) -> AsyncIterator[Any]:
            yield Call("call-1", "transfer_to_clock", {})

    clock = Agent(name="clock", model=FakeModel(Script()))
    router = Agent(name="router", model=FakeModel(Router()), handoffs=[clock])
    with running(PPIOAgentRuntimeApp.from_agent(router)) as url:
        events = typed(url, {"prompt": "hi"})

    steps = [event for event in events if event["type"].startswith("STEP")]
    assert steps == [
        {"type": "STEP_STARTED", "stepName": "clock"},
        {"type": "STEP_FINISHED", "stepName": "clock"},
    ]
