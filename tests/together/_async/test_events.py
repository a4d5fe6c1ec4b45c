"""`session.events`: typed events of any agent, whole after any cut, beside the text of the same run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig
from ppio_agent_models import (
    AgentError,
    AgentEvent,
    AgentInput,
    CustomEvent,
    Interrupt,
    ReasoningMessageContentEvent,
    RunFinishedEvent,
    RunOutcome,
    TextMessageContentEvent,
    ToolCallArgsEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.cutting_proxy import cutting_proxy

pytestmark = pytest.mark.contract

CUTS = 200
CONFIG = ClientConfig(retry_delay=0, max_retries=1000, retry_budget=None, idle_timeout=0.25)
BEFORE_THE_FAILURE = [
    *("RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"),
    *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END"),
    *("REASONING_END", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"),
    *("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT"),
]
TEXT = ["Let me ", "see: ", "it is ", "noon."]


async def clock(asked: AgentInput) -> AsyncIterator[Any]:
    if asked.resume:
        yield f"You said {asked.resume[0].payload}."
        return
    yield TEXT[0]
    yield TEXT[1]
    yield ReasoningMessageContentEvent(delta="A clock would help.")
    yield ToolCallStartEvent(tool_call_id="c", tool_call_name="clock")
    yield ToolCallArgsEvent(tool_call_id="c", delta="{}")
    yield ToolCallResultEvent(tool_call_id="c", content="12:00")
    yield TEXT[2]
    yield TEXT[3]
    if asked.prompt == "fail":
        raise AgentError("The clock stopped.")
    yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[Interrupt(id="i", message="Right?")]))


async def plain(request: dict[str, Any]) -> AsyncIterator[Any]:
    yield "a"
    yield {"b": 1}
    yield "c"


async def value(request: dict[str, Any]) -> dict[str, int]:
    return {"answer": 42}


def app_with(handler: Any, **settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))
    app.entrypoint(handler)
    return app


def text_in(events: list[AgentEvent]) -> list[str]:
    return [event.delta for event in events if isinstance(event, TextMessageContentEvent)]


def kinds_of(events: list[AgentEvent]) -> list[str]:
    return [event.type for event in events]


async def test_both_views_of_a_stream_that_is_cut_again_and_again_are_whole() -> None:
    with running(app_with(clock, heartbeat_seconds=0.05)) as url, cutting_proxy(url, seed=15) as proxy:
        async with AgentRuntimeClient(config=CONFIG) as client:
            session = client.attach(proxy.url)
            whole = [event async for event in session.events("time?")]
            proxy.calm = False
            while proxy.cuts.total() < CUTS:
                async with session.events("time?") as stream:
                    events = [event async for event in stream]
                assert kinds_of(events) == kinds_of(whole)
                assert text_in(events) == TEXT
                assert [chunk async for chunk in session.stream("time?")] == TEXT


async def test_a_run_is_read_on_after_any_event_in_both_views() -> None:
    with running(app_with(clock)) as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            async with session.events("time?") as stream:
                whole, after = [], []
                async for event in stream:
                    whole.append(event)
                    after.append(stream.last_event_id)
                assert stream.done is not None
                assert stream.invocation_id is not None
            handle = session.invocation(stream.invocation_id)
            for count, position in enumerate(after, 1):
                typed = [event async for event in handle.events(position, typed=True)]
                assert [event.to_wire() for event in typed] == [event.to_wire() for event in whole[count:]]
                assert [chunk async for chunk in handle.events(position)] == text_in(whole[count:])


async def test_an_interrupt_is_answered_by_the_next_request() -> None:
    with running(app_with(clock)) as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            events = [event async for event in session.events("time?")]
            last = events[-1]
            assert isinstance(last, RunFinishedEvent)
            answer = {"interrupt_id": last.interrupts[0].id, "status": "resolved", "payload": "yes"}
            told = [event async for event in session.events({"resume": [answer]})]
            in_text = await session.invoke("time?")

    assert last.interrupts[0].message == "Right?"
    assert text_in(told) == ["You said yes."]
    assert in_text.result == {"interrupts": [{"id": "i", "reason": "input_required", "message": "Right?"}]}


async def test_a_failure_is_an_exception_behind_what_was_said() -> None:
    with running(app_with(clock)) as url:
        async with AgentRuntimeClient() as client, client.attach(url).events("fail") as stream:
            reading = aiter(stream)
            events = [await anext(reading) for _ in range(len(BEFORE_THE_FAILURE))]
            with pytest.raises(AgentError, match="The clock stopped"):
                await anext(reading)

    assert kinds_of(events) == BEFORE_THE_FAILURE
    assert text_in(events) == TEXT


async def test_a_run_that_was_begun_for_text_has_its_events_too() -> None:
    with running(app_with(clock)) as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            handle = await session.submit("time?")
            await handle.result()
            events = [event async for event in handle.events(typed=True)]
            whole = [event async for event in session.events("time?")]

    assert kinds_of(events) == kinds_of(whole)
    assert text_in(events) == TEXT


@pytest.mark.parametrize("begun", ["typed", "untyped"])
async def test_an_agent_without_events_has_text_and_values(begun: str) -> None:
    with running(app_with(plain)) as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            if begun == "typed":
                stream = session.events({})
            else:
                handle = await session.submit({})
                await handle.result()
                stream = handle.events(typed=True)
            events = [event async for event in stream]

    assert kinds_of(events)[0] == "RUN_STARTED"
    assert kinds_of(events)[-1] == "RUN_FINISHED"
    assert text_in(events) == ["a", "c"]
    assert [(event.name, event.value) for event in events if isinstance(event, CustomEvent)] == [
        ("ppio.chunk", {"b": 1})
    ]


async def test_a_value_is_the_result_of_its_run() -> None:
    with running(app_with(value)) as url:
        async with AgentRuntimeClient() as client:
            events = [event async for event in client.attach(url).events({})]

    assert isinstance(events[-1], RunFinishedEvent)
    assert events[-1].result == {"answer": 42}
