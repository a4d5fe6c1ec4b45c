"""Google's Agent Development Kit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ppio_agent_models import AgentInput
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.frameworks.promises import Promises
from tests.frameworks.runs import JSON, ask
from tests.frameworks.script import Call, Script
from tests.support.raw_http import invoke

pytest.importorskip("google.adk", reason="google-adk is in the environment frameworks.google-adk")

from google.adk.agents import LlmAgent
from google.adk.models import BaseLlm, LlmResponse
from google.adk.sessions import InMemorySessionService
from google.adk.tools import FunctionTool
from google.genai.types import Content, FunctionCall, Part

# Confirmations were an experiment once, and the ADK answers a warning that is an error with a run that failed.
pytestmark = pytest.mark.filterwarnings(r"ignore:\[EXPERIMENTAL\]:UserWarning")


class FakeModel(BaseLlm):
    script: Any

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[Any]:
        parts = [part for content in llm_request.contents if content.role == "user" for part in content.parts]
        heard = [part.text for part in parts if part.text]
        response = parts[-1].function_response
        result = None if response is None else str(next(iter(response.response.values())))
        text, calls = "", []
        async for said in self.script.says(heard, result):
            if isinstance(said, Call):
                calls.append(Part(function_call=FunctionCall(name=said.name, args=said.arguments)))
            else:
                text += said
                yield LlmResponse(content=Content(role="model", parts=[Part(text=said)]), partial=True)
        whole = [*([Part(text=text)] if text else []), *calls]
        yield LlmResponse(content=Content(role="model", parts=whole), partial=False)


class TestGoogleADK(Promises):
    kind = "Google ADK"
    argument_pieces = 1
    tells_reasons = False

    def agent(self, script: Script) -> Any:
        return LlmAgent(name="clock", model=FakeModel(model="fake", script=script), tools=[FunctionTool(script.clock)])

    def asking_agent(self, script: Script) -> Any:
        tools = [FunctionTool(script.buy, require_confirmation=True)]
        return LlmAgent(name="shop", model=FakeModel(model="fake", script=script), tools=tools)

    def shout(self, request: AgentInput) -> Any:
        return str(request.prompt).upper()


def test_a_session_service_of_ones_own_keeps_the_conversation() -> None:
    service = InMemorySessionService()
    answers = []
    for prompt in ("one", "two"):  # as after a restart
        agent = TestGoogleADK().agent(Script())
        with running(PPIOAgentRuntimeApp.from_agent(agent, session=lambda _session_id: service)) as url:
            answers.append(ask(url, prompt, "s"))

    assert answers == ["I heard one", "I heard one/two"]


def test_a_model_that_fails_in_an_event_fails_the_run() -> None:
    class Failing(BaseLlm):
        async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[Any]:
            yield LlmResponse(error_code="429", error_message="the quota of sk-123 is used up")

    with running(PPIOAgentRuntimeApp.from_agent(LlmAgent(name="a", model=Failing(model="fake")))) as url:
        answer = invoke(url, {"prompt": "hi"}, JSON)

    assert (answer.status, answer.json["error_type"]) == (500, "HandlerError")
    assert "sk-123" not in answer.body.decode()
