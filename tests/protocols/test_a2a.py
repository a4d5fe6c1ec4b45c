"""A2A, judged by a2a-sdk's client: both bindings, versions 1.0 and 0.3."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.protocols.a2a_client import (
    DIALECTS,
    answered,
    connected,
    data,
    data_in,
    deltas,
    heard,
    refusal,
    said,
    saying,
    state_of,
    texts,
)
from tests.protocols.agent import TEXT, Clock, serving

from a2a.types.a2a_pb2 import (  # isort: skip  # behind the importorskip in a2a_client
    GetTaskRequest,
    Part,
)
from a2a.utils.errors import (  # isort: skip
    InvalidParamsError,
    UnsupportedOperationError,
)
from google.protobuf.json_format import MessageToDict

pytestmark = pytest.mark.contract

WHOLE = ["".join(TEXT[:2]), TEXT[2]]


@pytest.mark.parametrize(("binding", "version"), DIALECTS)
async def test_a_run_streams_as_a_task_with_artifacts_and_messages(binding: str, version: str) -> None:
    clock = Clock()
    with serving(clock, ["a2a"]) as url:
        async with connected(url, binding, version) as client:
            events = await heard(client.send_message(saying("time?", context_id="context")))
            task = await client.get_task(GetTaskRequest(id=events[0].task.id))

    assert events[0].task.context_id == "context"
    assert deltas(events) == TEXT
    assert [event["type"] for event in data_in(events)] == [
        *("REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT"),
        *("REASONING_MESSAGE_END", "REASONING_END"),
        *("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT", "STATE_SNAPSHOT"),
    ]
    assert state_of(events[-1]) == state_of(task) == "COMPLETED"
    assert texts(task) == WHOLE
    assert [message.parts[0].text for message in task.history] == ["time?"]
    assert (clock.contexts[0].session_id, clock.contexts[0].protocol) == ("context", "a2a")
    assert clock.contexts[0].metadata == {"task_id": task.id}
    assert clock.asked[0].prompt == "time?"


@pytest.mark.parametrize(("binding", "version"), DIALECTS)
async def test_a_message_is_answered_with_the_task_when_it_is_over(binding: str, version: str) -> None:
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url, binding, version, streaming=False) as client:
            task = await answered(client, saying("time?"))
            failed = await answered(client, saying("fail at once"))
            failed_later = await answered(client, saying("fail later"))

    assert (state_of(task), texts(task)) == ("COMPLETED", WHOLE)
    assert task.context_id
    assert (state_of(failed), said(failed)) == ("FAILED", "No clock.")
    assert (state_of(failed_later), said(failed_later)) == ("FAILED", "The clock stopped.")


@pytest.mark.parametrize(("binding", "version"), DIALECTS)
async def test_a_question_requires_input_and_the_answer_goes_on_with_the_task(binding: str, version: str) -> None:
    clock = Clock()
    with serving(clock, ["a2a"]) as url:
        async with connected(url, binding, version) as client:
            asked = await heard(client.send_message(saying("ask")))
            task = asked[0].task
            answer = saying("yes", "m2", task_id=task.id, context_id=task.context_id)
            events = await heard(client.send_message(answer))
            whole = await client.get_task(GetTaskRequest(id=task.id))
            with pytest.raises(refusal(UnsupportedOperationError, binding, version)):
                await heard(client.send_message(saying("again", "m3", task_id=task.id)))

    question = asked[-1].status_update.status.message
    assert state_of(asked[-1]) == "INPUT_REQUIRED"
    assert question.parts[0].text == "Right?"
    assert data_in(asked)[-1]["id"] == "q"
    assert events[0].task.id == task.id
    assert [artifact.parts[0].text for artifact in events[0].task.artifacts] == WHOLE
    assert deltas(events) == ["You said yes."]
    assert (state_of(whole), texts(whole)) == ("COMPLETED", [*WHOLE, "You said yes."])
    assert [message.parts[0].text for message in whole.history] == ["ask", "yes"]
    assert clock.asked[1].prompt == ""
    assert {context.session_id for context in clock.contexts} == {task.context_id}
    assert clock.contexts[1].metadata["task_id"] == task.id


@pytest.mark.parametrize(
    ("parts", "heard_answer"),
    [
        ([data({"approved": True})], "{'approved': True}"),
        ([data({"interruptId": "q", "status": "resolved", "payload": 3})], "3"),
        ([data({"interruptId": "q", "status": "cancelled"})], "None"),
    ],
)
async def test_an_answer_may_be_data(parts: list[Part], heard_answer: str) -> None:
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            task = await answered(client, saying("ask"))
            with pytest.raises(InvalidParamsError, match="not valid"):
                await answered(client, saying([data({"interruptId": 1})], "wrong", task_id=task.id))
            done = await answered(client, saying(parts, "m2", task_id=task.id))

    assert texts(done)[-1] == f"You said {heard_answer}."


async def test_files_and_data_reach_the_agent() -> None:
    clock = Clock()
    parts = [
        Part(text="Look:"),
        Part(url="https://e.example/a.png", media_type="image/png"),
        Part(raw=b"abc", media_type="application/pdf"),
        data({"a": 1}),
    ]
    with serving(clock, ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            await answered(client, saying(parts, metadata={"b": "c"}))

    content = clock.asked[0].messages[0]["content"]
    assert [part["type"] for part in content] == ["text", "image", "document", "text"]
    assert content[1]["source"] == {"type": "url", "value": "https://e.example/a.png", "mimeType": "image/png"}
    assert content[2]["source"]["value"] == "YWJj"
    assert json.loads(content[3]["text"]) == {"a": 1}
    assert clock.asked[0].forwarded_props == {"b": "c"}


async def values(request: dict[str, Any]) -> AsyncIterator[Any]:
    yield "a"
    yield {"b": [1, None]}
    yield "c"


async def value(request: dict[str, Any]) -> dict[str, int]:
    return {"answer": 42}


@pytest.mark.parametrize(
    ("agent", "made"), [(values, [("text", "ac"), ("data", {"b": [1, None]})]), (value, [("data", {"answer": 42})])]
)
async def test_values_that_are_no_events_are_data(agent: Any, made: list[Any]) -> None:
    with serving(agent, ["a2a"]) as url:
        async with connected(url) as client:
            events = await heard(client.send_message(saying("x")))
            task = await client.get_task(GetTaskRequest(id=events[0].task.id))

    streamed = {event.artifact_update.artifact.artifact_id for event in events if event.HasField("artifact_update")}
    parts = [artifact.parts[0] for artifact in task.artifacts]
    assert [(kind := part.WhichOneof("content"), MessageToDict(part).get(kind)) for part in parts] == made
    assert streamed == {artifact.artifact_id for artifact in task.artifacts}


async def test_the_time_limit_is_that_of_the_metadata() -> None:
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            task = await answered(client, saying("wait", metadata={"timeout": 0.2}))

    assert state_of(task) == "FAILED"
    assert "within 0.2 s" in said(task)


async def test_a_drain_ends_a_stream_with_a_failed_task() -> None:
    async def read(url: str, begun: asyncio.Event) -> list[Any]:
        events = []
        async with connected(url) as client:
            async for event in client.send_message(saying("wait")):
                events.append(event)
                if event.HasField("artifact_update"):
                    begun.set()
        return events

    begun = asyncio.Event()
    server = serving(Clock(), ["a2a"], shutdown_grace_seconds=0)
    reading = asyncio.create_task(read(server.__enter__(), begun))
    await begun.wait()
    await asyncio.to_thread(server.__exit__, None, None, None)
    last = (await reading)[-1]

    assert state_of(last) == "FAILED"
    assert "drain" in said(last.status_update)
