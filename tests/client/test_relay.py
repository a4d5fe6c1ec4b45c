"""Streams that are passed on: as server-sent events and as lines of JSON, with heartbeats, to the end."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from ppio_agent_client import AgentError, ConfigurationError
from ppio_agent_client.testing import Cut, Delay, FakeAgent, Progress
from ppio_agent_models import ToolCallStartEvent


async def sse(agent: FakeAgent, **options: Any) -> list[bytes]:
    async with agent.client() as client:
        return b"".join([part async for part in client.attach(agent.url).stream("x").sse(**options)]).split(b"\n\n")


async def test_chunks_are_messages_with_ids_and_the_end_is_an_event(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("Hel", Progress({"done": 1}), Cut(), {"l": "o\u2028\n"})
    first, progress, second, done, rest = await sse(fake_agent)
    assert first == b'id: fake-1:1\ndata: "Hel"'
    assert progress == b'id: fake-1:2\nevent: progress\ndata: {"done":1}'
    assert second == b'id: fake-1:3\ndata: {"l":"o\\u2028\\n"}'
    assert done.startswith(b"event: done\ndata: {")
    assert json.loads(done.partition(b"data: ")[2])["status"] == "success"
    assert rest == b""


async def test_a_failure_is_the_last_event(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", AgentError("no more", status_code=402))
    _, error, _ = await sse(fake_agent)
    name, _, data = error.partition(b"\ndata: ")
    assert name == b"event: error"
    assert json.loads(data) == {
        "error": "no more",
        "error_type": "AgentError",
        "request_id": "fake-1",
        "retryable": False,
    }


async def test_silence_is_filled_with_heartbeats_and_nothing_is_lost(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", Delay(0.3), "b")
    parts = await sse(fake_agent, heartbeat_seconds=0.02)
    assert parts.count(b": heartbeat") >= 3
    assert [part for part in parts if b"data" in part][:2] == [b'id: fake-1:1\ndata: "a"', b'id: fake-1:2\ndata: "b"']


def test_a_blocking_stream_has_heartbeats_too(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream(Delay(0.3), "a", Delay(0.3), "b")
    with fake_agent.sync_client() as client:
        parts = list(client.attach(fake_agent.url).stream("x").sse(heartbeat_seconds=0.02))
    assert parts.count(b": heartbeat\n\n") >= 6
    assert b"".join(part for part in parts if part[:1] != b":").split(b"\n\n")[:2] == [
        b'id: fake-1:1\ndata: "a"',
        b'id: fake-1:2\ndata: "b"',
    ]


def test_lines_of_json_say_the_same(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", Progress(1))
    with fake_agent.sync_client() as client:
        lines = b"".join(client.attach(fake_agent.url).stream("x").ndjson()).splitlines()
    told = [json.loads(line) for line in lines]
    assert told[:2] == [
        {"kind": "chunk", "data": "a", "event_id": "fake-1:1"},
        {"kind": "progress", "data": 1, "event_id": "fake-1:2"},
    ]
    assert (told[2]["kind"], told[2]["data"]["status"]) == ("done", "success")


async def test_who_comes_back_with_an_id_gets_the_rest_and_nothing_runs_twice(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", "b", "c")
    async with fake_agent.client() as client:
        session = client.attach(fake_agent.url)
        async with session.stream("x", on_disconnect="continue") as stream:
            first = await anext(stream)
            known = f"{stream.invocation_id}:{stream.last_event_id}"
        rest = [chunk async for chunk in session.stream("x", last_event_id=known)]
        again = [part async for part in session.stream("x", last_event_id=f"{stream.invocation_id}:3").sse()]
    assert (first, rest) == ("a", ["b", "c"])
    assert len(again) == 1
    assert again[0].startswith(b"event: done")
    assert len(fake_agent.requests) == 1


@pytest.mark.parametrize("last_event_id", ["7", "x", ":7", "fake-1:", "fake-1:x", "..:1"])
async def test_an_id_that_was_never_sent_is_refused(fake_agent: FakeAgent, last_event_id: str) -> None:
    async with fake_agent.client() as client:
        with pytest.raises(ConfigurationError):
            client.attach(fake_agent.url).stream("x", last_event_id=last_event_id)


@pytest.mark.parametrize(("on_disconnect", "goes_on"), [(None, False), ("cancel", False), ("continue", True)])
async def test_leaving_cancels_or_not(fake_agent: FakeAgent, on_disconnect: Any, goes_on: bool) -> None:
    fake_agent.will_stream("a", Delay(60), "b")
    async with fake_agent.client() as client:
        session = client.attach(fake_agent.url)
        stream = session.stream("x", on_disconnect=on_disconnect)
        body = stream.sse()
        assert await anext(body) == b'id: fake-1:1\ndata: "a"\n\n'
        reading = asyncio.ensure_future(anext(body))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await session.invocation("fake-1").status() == "running") is goes_on


def test_leaving_a_blocking_stream_ends_its_thread(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", "b", "c")
    with fake_agent.sync_client() as client:
        body = client.attach(fake_agent.url).stream("x").sse()
        assert next(iter(body)).startswith(b"id: fake-1:1\n")
        body.close()  # type: ignore[attr-defined]
    assert [thread.name for thread in threading.enumerate() if thread.name == "ppio-agent-client"] == []


def test_typed_events_of_an_agent_that_has_none_are_passed_on_framed(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream("a", Progress(1), "b")
    with fake_agent.sync_client() as client:
        session = client.attach(fake_agent.url)
        lines = [json.loads(line) for line in b"".join(session.events("x").ndjson()).splitlines()]
        after_a = next(line["event_id"] for line in lines if line["event_id"])
        rest = [json.loads(line) for line in b"".join(session.events("x", last_event_id=after_a).ndjson()).splitlines()]
    assert [
        (line["kind"], (line["data"] or {}).get("type") if line["kind"] == "chunk" else None) for line in lines
    ] == [
        ("chunk", "RUN_STARTED"),
        ("chunk", "TEXT_MESSAGE_START"),
        ("chunk", "TEXT_MESSAGE_CONTENT"),
        ("progress", None),
        ("chunk", "TEXT_MESSAGE_CONTENT"),
        ("chunk", "TEXT_MESSAGE_END"),
        ("chunk", "RUN_FINISHED"),
        ("done", None),
    ]
    assert [line["data"]["delta"] for line in rest if line["kind"] == "chunk" and "delta" in line["data"]] == ["b"]
    assert len(fake_agent.requests) == 1


async def test_typed_events_are_passed_on_as_they_are_and_resumed(fake_agent: FakeAgent) -> None:
    fake_agent.will_stream(ToolCallStartEvent(tool_call_id="c", tool_call_name="stock"), "text")
    async with fake_agent.client() as client:
        session = client.attach(fake_agent.url)
        lines = [json.loads(line) async for body in session.events("x").ndjson() for line in body.splitlines()]
        kinds = [line["data"]["type"] for line in lines if line["kind"] == "chunk"]
        assert (kinds[0], kinds[-1]) == ("RUN_STARTED", "RUN_FINISHED")
        start = next(line["event_id"] for line in lines if line["data"]["type"] == "TOOL_CALL_START")
        resumed = session.events("x", last_event_id=start)
        assert [event.type async for event in resumed] == kinds[kinds.index("TOOL_CALL_START") + 1 :]
