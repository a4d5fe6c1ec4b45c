"""Questions of the agent over MCP: elicitation where the client can, else results and arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from ppio_agent_models import AgentInput, Interrupt, RunFinishedEvent, RunOutcome
from tests.protocols.agent import Clock, serving
from tests.protocols.mcp_client import Mode, with_client

from mcp.client import Client  # isort: skip  # behind the importorskip in mcp_client
from mcp_types import ElicitResult  # isort: skip

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@pytest.fixture
def url(clock: Clock) -> Iterator[str]:
    with serving(clock, ["mcp"]) as url:
        yield url


class Trip(BaseModel):
    """Where to."""

    city: str
    days: int = 1


@pytest.mark.parametrize(
    ("answer", "resume"),
    [
        (ElicitResult(action="accept", content={"answer": "yes"}), ("resolved", "yes")),
        (ElicitResult(action="decline"), ("cancelled", None)),
    ],
    ids=["accept", "decline"],
)
def test_a_question_goes_to_the_user(
    url: str, mode: Mode, clock: Clock, answer: ElicitResult, resume: tuple[str, Any]
) -> None:
    asked: list[str] = []

    async def elicit(_: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return answer

    async def use(client: Client) -> Any:
        return await client.call_tool("clock", {"prompt": "ask"})

    result = with_client(url, mode, use, elicitation_callback=elicit)
    given = clock.asked[1].resume[0]

    assert asked == ["Right?"]
    assert (given.interrupt_id, given.status, given.payload) == ("q", *resume)
    assert clock.asked[1].prompt == ""
    assert clock.contexts[0].session_id == clock.contexts[1].session_id
    assert result.content[0].text == f"You said {resume[1]}."


def test_a_client_that_cannot_ask_gets_the_question_and_answers_with_an_argument(
    url: str, mode: Mode, clock: Clock
) -> None:
    async def use(client: Client) -> Any:
        asked: Any = (await client.call_tool("clock", {"prompt": "ask"})).structured_content
        resume = [{"interrupt_id": asked["result"]["interrupts"][0]["id"], "payload": 7}]
        return await client.call_tool("clock", {"session_id": asked["session_id"], "resume": resume, "prompt": "ask"})

    assert with_client(url, mode, use).content[0].text == "You said 7."
    assert clock.contexts[0].session_id == clock.contexts[1].session_id


def test_an_agent_whose_payload_has_no_place_for_answers_is_not_given_any(mode: Mode) -> None:
    async def plan(trip: Trip) -> Any:
        yield f"To {trip.city}? "
        yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[Interrupt(id="q", message="Sure?")]))

    async def elicit(*_: Any) -> ElicitResult:
        raise AssertionError("asked")

    async def use(client: Client) -> Any:
        return await client.call_tool("clock", {"city": "Rome"})

    with serving(plan, ["mcp"]) as url:
        result = with_client(url, mode, use, elicitation_callback=elicit)

    assert [each["id"] for each in result.structured_content["result"]["interrupts"]] == ["q"]


@pytest.mark.parametrize(
    ("asked", "schema", "content", "payload"),
    [
        ({"tool_call_id": "call"}, {"approved", "reason"}, {"approved": True}, {"approved": True}),
        ({"response_schema": {"type": "boolean"}}, {"answer"}, {"answer": True}, True),
        (
            {"response_schema": {"type": "object", "properties": {"answer": {"type": "integer"}}}},
            {"answer"},
            {"answer": 2},
            {"answer": 2},
        ),
        ({"response_schema": {"type": "array"}}, {"answer"}, {"answer": "a"}, "a"),
    ],
    ids=["approval", "simple", "form", "other"],
)
def test_a_question_has_the_form_that_its_answer_is_to_have(
    mode: Mode, asked: dict[str, Any], schema: set[str], content: dict[str, Any], payload: Any
) -> None:
    forms: list[Any] = []

    async def agent(request: AgentInput) -> Any:
        if request.resume:
            yield json.dumps(request.resume[0].payload)
            return
        yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[Interrupt(id="a:b", **asked)]))

    async def elicit(_: Any, params: Any) -> ElicitResult:
        forms.append(params.requested_schema)
        return ElicitResult(action="accept", content=content)

    async def use(client: Client) -> Any:
        return await client.call_tool("clock", {"prompt": "go"})

    with serving(agent, ["mcp"]) as url:
        result = with_client(url, mode, use, elicitation_callback=elicit)

    assert forms[0]["properties"].keys() == schema
    assert json.loads(result.content[0].text) == payload
