"""OpenAI's client, an A2A client and an MCP client talk to the one agent, which goes on running between them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.frameworks.script import Script
from tests.one_agent.agent import NAME
from tests.one_agent.conversation import CONVERSATION, Transcript, tool_asked_for

from tests.protocols.a2a_client import connected, data_in, deltas, heard, saying, state_of  # isort: skip  # skips
from a2a.types.a2a_pb2 import Part
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Value
from mcp.client import Client
from mcp_types import ElicitResult
from openai import OpenAI

pytestmark = pytest.mark.contract

WITHOUT_TOOLS = [line for line in CONVERSATION if line[0] not in ("calls", "result")]
APPROVED = ParseDict({"approved": True}, Value())


def test_openai_responses(url: str, script: Script) -> None:
    told, bought = Transcript("openai for Python, Responses"), len(script.bought)

    def send(said: str, given: Any, previous: str | None) -> Any:
        told.add("user", said)
        with client.responses.stream(model=NAME, input=given, previous_response_id=previous) as stream:
            response = stream.get_final_response()
        for item in response.output:
            if item.type == "message":
                told.add("agent", item.content[0].text)
            elif item.type == "mcp_call":
                told.add("calls", item.name)
                told.add_result(item.output)
            elif item.type == "mcp_approval_request":
                told.add("asks", item.name)
        return response

    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        first = send("time?", "time?", None)
        asked = send("buy tea", "buy tea", first.id)
        answer = {"type": "mcp_approval_response", "approval_request_id": asked.output[-1].id, "approve": True}
        send("approved", [answer], asked.id)
    told.show()

    # The result of the approved call belongs to an item of the response before, which is over.
    assert told.lines == [line for line in CONVERSATION if line != ("result", "tea bought")]
    assert script.bought[bought:] == ["tea"]


def test_openai_chat_completions(url: str, script: Script) -> None:
    told, bought = Transcript("openai for Python, Chat Completions"), len(script.bought)
    messages: list[Any] = []

    def send(text: str) -> None:
        told.add("user", text)
        messages.append({"role": "user", "content": text})
        with client.chat.completions.stream(model=NAME, messages=messages) as stream:
            answer: str = stream.get_final_completion().choices[0].message.content
        messages.append({"role": "assistant", "content": answer})
        is_question = answer.startswith("Tool execution requires approval")
        told.add("asks" if is_question else "agent", tool_asked_for(answer) if is_question else answer)

    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        send("time?")
        send("buy tea")
    told.show()

    # A question is text there, which nothing but text can answer.
    assert told.lines == [
        *[("user", "time?"), ("agent", "Let me see: It is 12:00 utc.")],
        *[("user", "buy tea"), ("asks", "buy")],
    ]
    assert script.bought[bought:] == []


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_a2a(url: str, script: Script, binding: str) -> None:
    told, bought = Transcript(f"a2a-sdk, {binding}"), len(script.bought)
    async with connected(url, binding) as client:

        async def send(said: str, given: str | list[Part], **fields: Any) -> list[Any]:
            told.add("user", said)
            events = await heard(client.send_message(saying(given, message_id=said, **fields)))
            for event in events:
                if event.HasField("artifact_update"):
                    told.add("agent", "".join(deltas([event])))
                told.add_events(each for each in data_in([event]) if "type" in each)
            if state_of(events[-1]) == "INPUT_REQUIRED":
                told.add("asks", tool_asked_for(events[-1].status_update.status.message.parts[0].text))
            return events

        context = (await send("time?", "time?"))[0].task.context_id
        asked = (await send("buy tea", "buy tea", context_id=context))[0].task
        done = await send("approved", [Part(data=APPROVED)], task_id=asked.id, context_id=context)
    told.show()

    assert told.lines == CONVERSATION
    assert state_of(done[-1]) == "COMPLETED"
    assert script.bought[bought:] == ["tea"]


async def test_mcp(url: str, script: Script) -> None:
    told, bought, results = Transcript("mcp for Python"), len(script.bought), []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        _, is_tool, tool = str(message).partition("Uses the tool ")
        told.add("calls" if is_tool else "agent", tool.removesuffix(".") or str(message))

    async def elicit(context: Any, params: Any) -> ElicitResult:
        told.add("asks", tool_asked_for(params.message))
        told.add("user", "approved")
        return ElicitResult(action="accept", content={"approved": True})

    async with Client(f"{url}/mcp", elicitation_callback=elicit) as client:
        for prompt in ("time?", "buy tea"):
            told.add("user", prompt)
            arguments = {"prompt": prompt, "session_id": "mcp"}
            result: Any = await client.call_tool(NAME, arguments, progress_callback=tell)
            assert not result.is_error, result
            results.append(result.content[0].text)
    told.show()

    assert told.lines == [line for line in CONVERSATION if line[0] != "result"]
    assert results[-1] == CONVERSATION[-1][1]
    assert script.bought[bought:] == ["tea"]
