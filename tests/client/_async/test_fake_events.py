"""A fake agent with typed events: read as events, as text and as one value, after cuts and through handles."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ppio_agent_client import AgentError, AgentRuntimeClient, ClientConfig
from ppio_agent_client.testing import Cut, Delay, FakeAgent, Progress
from ppio_agent_models import (
    AgentEvent,
    Interrupt,
    RunErrorEvent,
    RunFinishedEvent,
    RunOutcome,
    RunStartedEvent,
    TextMessageContentEvent,
    ToolCallArgsEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

CALL = (
    ToolCallStartEvent(tool_call_id="c", tool_call_name="clock"),
    ToolCallArgsEvent(tool_call_id="c", delta="{}"),
    ToolCallResultEvent(tool_call_id="c", content="12:00"),
)
KINDS = [
    *("RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
    *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
    *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "CUSTOM", "TEXT_MESSAGE_END", "RUN_FINISHED"),
]


def client_of(agent: FakeAgent) -> AgentRuntimeClient:
    config = ClientConfig(retry_delay=0.001)
    return AgentRuntimeClient(config=config, http_client=httpx.AsyncClient(transport=agent.transport()))


def kinds_of(events: list[AgentEvent]) -> list[str]:
    return [event.type for event in events]


async def test_a_run_is_read_as_events_as_text_and_as_one_value() -> None:
    agent = FakeAgent()
    agent.will_stream("See: ", Delay(0.001), *CALL, Progress(0.5), "noon", {"hour": 12})
    async with client_of(agent) as client:
        session = client.attach(agent.url, session_id="s-1")
        async with session.events("x") as stream:
            events = [event async for event in stream]
            assert stream.done is not None
        assert kinds_of(events) == KINDS
        assert isinstance(events[0], RunStartedEvent)
        assert events[0].thread_id == "s-1"
        assert [event.delta for event in events if isinstance(event, TextMessageContentEvent)] == ["See: ", "noon"]
        assert [chunk async for chunk in session.stream("x")] == ["See: ", "noon", {"hour": 12}]
        assert (await session.invoke("x")).result == ["See: ", "noon", {"hour": 12}]


async def test_events_go_on_after_any_cut_and_each_comes_once() -> None:
    agent = FakeAgent()
    agent.will_stream(Cut(), "a", Cut(), CALL[0], Cut(), *CALL[1:], Cut(), "b", Cut())
    agent.will_stream("a", Cut(), *CALL, "b")
    async with client_of(agent) as client:
        session = client.attach(agent.url)
        events = [event async for event in session.events("x")]
        assert [kind for kind in KINDS if kind != "CUSTOM"] == kinds_of(events)
        assert [chunk async for chunk in session.stream("x")] == ["a", "b"]
    assert len(agent.requests) == 2


async def test_a_handle_reads_on_behind_any_event_in_both_views() -> None:
    agent = FakeAgent()
    agent.will_stream("a", *CALL, "b")
    async with client_of(agent) as client:
        handle = await client.attach(agent.url).submit("x")
        async with handle.events(typed=True) as stream:
            whole, positions = [], []
            async for event in stream:
                whole.append(event)
                positions.append(stream.last_event_id)
        for count, position in enumerate(positions, 1):
            rest = [event async for event in handle.events(position, typed=True)]
            assert [event.to_wire() for event in rest] == [event.to_wire() for event in whole[count:]]
            texts = [event.delta for event in whole[count:] if isinstance(event, TextMessageContentEvent)]
            assert [chunk async for chunk in handle.events(position)] == texts
        assert (await handle.result()).result == "ab"
        assert (await handle.info()).last_event_id == len(whole) + 1


async def test_a_question_ends_the_run_and_is_its_result() -> None:
    agent = FakeAgent()
    outcome = RunOutcome(type="interrupt", interrupts=[Interrupt(id="i", message="Right?")])
    agent.will_stream("noon", RunFinishedEvent(outcome=outcome))
    agent.will_return(RunFinishedEvent(result={"hour": 12}))
    async with client_of(agent) as client:
        session = client.attach(agent.url)
        last = [event async for event in session.events("x")][-1]
        assert isinstance(last, RunFinishedEvent)
        assert last.outcome == outcome
        assert (await session.invoke("x")).result == {"hour": 12}
        agent.will_stream("noon", RunFinishedEvent(outcome=outcome))
        await session.invoke("x")  # the last answer of a script stays until another is there
        result: Any = (await session.invoke("x")).result
        assert result["interrupts"][0]["message"] == "Right?"


@pytest.mark.parametrize("failing", [RunErrorEvent(message="Stopped.", code="ClockError"), AgentError("Stopped.")])
async def test_a_run_that_fails_has_the_events_before_it(failing: Any) -> None:
    agent = FakeAgent()
    agent.will_stream("a", *CALL, failing)
    async with client_of(agent) as client:
        stream = client.attach(agent.url).events("x")
        with pytest.raises(AgentError, match=r"Stopped\."):
            [event async for event in stream]
        assert stream.received == len(KINDS[:8])
        with pytest.raises(AgentError, match=r"Stopped\."):
            await client.attach(agent.url).invoke("x")


async def test_text_of_an_agent_without_events_is_framed_by_the_client() -> None:
    agent = FakeAgent()
    agent.will_stream("a", "b")
    async with client_of(agent) as client:
        events = [event async for event in client.attach(agent.url).events("x")]
    assert [event.delta for event in events if isinstance(event, TextMessageContentEvent)] == ["a", "b"]
