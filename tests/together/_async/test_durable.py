"""Invocations that outlive their callers: handed in, looked at, read from several places, cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ppio_agent_client import (
    AgentError,
    AgentRuntimeClient,
    EventsEvictedError,
    HandlerError,
    IdempotencyKeyReusedError,
    InvocationCancelledError,
    InvocationHandle,
    InvocationState,
    NotFoundError,
    SandboxSession,
    StreamEvent,
    TotalTimeoutError,
)
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gates import opening
from tests.support.worker import Worker

pytestmark = pytest.mark.contract


@asynccontextmanager
async def at_work() -> AsyncIterator[tuple[Worker, SandboxSession]]:
    """Serve a worker, whose gate is open at the end; give it and a session with it."""
    worker = Worker()
    with running(worker.app) as url, opening(worker.gate):
        async with AgentRuntimeClient() as client:
            yield worker, client.attach(url)


async def test_work_is_handed_in_and_its_result_fetched_later() -> None:
    async with at_work() as (worker, session):
        handle = await session.submit("x")
        worker.began.wait_for(1)
        assert await handle.status() == "running"
        assert await handle.status() is InvocationState.RUNNING
        worker.gate.open()
        response = await handle.result()
        assert (response.result, response.invocation_id) == ("onetwo", handle.invocation_id)
        assert await handle.status() == "succeeded"
        assert (await handle.info()).last_event_id == 4
    assert handle.session_id == session.session_id


async def test_a_handle_is_made_again_from_its_ids() -> None:
    worker = Worker()
    with running(worker.app) as url, opening(worker.gate):
        async with AgentRuntimeClient() as client:
            invocation_id = (await client.attach(url).submit({"do": "answer", "value": [1, 2]})).invocation_id
        async with AgentRuntimeClient() as other:
            handle = other.attach(url).invocation(invocation_id)
            assert isinstance(handle, InvocationHandle)
            assert (await handle.result()).result == [1, 2]
            assert [chunk async for chunk in handle.events()] == [[1, 2]]


async def test_events_can_be_read_by_many_from_anywhere() -> None:
    async with at_work() as (worker, session):
        handle = await session.submit("x")
        async with handle.events() as early:
            assert await anext(early) == "one"
        worker.gate.open()
        *events, done = [event async for event in handle.events().events()]
        assert events == [
            StreamEvent("chunk", "one", 1),
            StreamEvent("progress", {"part": 1, "of": 2}, 2),
            StreamEvent("chunk", "two", 3),
        ]
        assert done.kind == "done"
        assert [chunk async for chunk in handle.events(after=early.last_event_id)] == ["two"]
        assert [chunk async for chunk in handle.events(after=3)] == []
    assert worker.began.value == 1


async def test_waiting_too_long_for_a_result_leaves_the_invocation_alone() -> None:
    async with at_work() as (worker, session):
        handle = await session.submit("x")
        with pytest.raises(TotalTimeoutError):
            await handle.result(timeout=0.05)
        worker.gate.open()
        assert (await handle.result()).result == "onetwo"


async def test_a_cancelled_invocation_stops_and_says_so() -> None:
    async with at_work() as (worker, session):
        handle = await session.submit("x")
        async with handle.events() as stream:
            assert await anext(stream) == "one"
            assert await handle.cancel()
            with pytest.raises(InvocationCancelledError):
                [chunk async for chunk in stream]
        worker.stopped.wait_for(1)
        with pytest.raises(InvocationCancelledError):
            await handle.result()
        assert await handle.status() == "cancelled"
        assert not await handle.cancel()


async def test_the_end_of_handed_in_work_is_raised_as_it_would_be_at_once() -> None:
    async with at_work() as (_, session):
        with pytest.raises(HandlerError):
            await (await session.submit({"do": "fail"})).result()
        with pytest.raises(AgentError, match="no such order") as caught:
            await (await session.submit({"do": "refuse"})).result()
    assert (caught.value.error_type, caught.value.status_code) == ("OrderNotFound", 404)


async def test_an_agents_own_status_is_told_inside_a_stream_as_well() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def pay(payload: dict[str, Any]) -> Any:
        yield "one"
        raise AgentError("no money left", status_code=402, error_type="Broke")

    with running(app) as url:
        async with AgentRuntimeClient() as client:
            stream = client.attach(url).stream("x")
            with pytest.raises(AgentError, match="no money left") as caught:
                [chunk async for chunk in stream]
    assert (stream.received, caught.value.error_type, caught.value.status_code) == (1, "Broke", 402)


async def test_a_stream_that_is_too_long_to_be_held_has_no_result_and_says_so() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=4096))

    @app.entrypoint
    def talk(payload: dict[str, Any]) -> Any:
        for number in range(3000):
            yield f"{number} {'x' * 50}"

    with running(app) as url:
        async with AgentRuntimeClient() as client:
            handle = await client.attach(url).submit("x")
            with pytest.raises(EventsEvictedError, match=r"events\(after=") as caught:
                await handle.result()
            first = caught.value.first_event_id
            assert first is not None
            assert await handle.status() == "succeeded"
            assert len([chunk async for chunk in handle.events(after=first - 1)]) == 3001 - first
            with pytest.raises(EventsEvictedError) as caught:
                [chunk async for chunk in handle.events()]
            assert caught.value.first_event_id == first


async def test_a_result_that_is_none_is_none() -> None:
    async with at_work() as (_, session):
        handle = await session.submit({"do": "answer", "value": None})
        assert (await handle.result()).result is None


async def test_an_unknown_invocation_is_not_found() -> None:
    with running(Worker().app) as url:
        async with AgentRuntimeClient() as client:
            handle = client.attach(url).invocation("no/such?thing")
            with pytest.raises(NotFoundError, match="no/such"):
                await handle.status()
            with pytest.raises(NotFoundError):
                [chunk async for chunk in handle.events()]


async def test_leaving_a_stream_early_stops_the_agent() -> None:
    async with at_work() as (worker, session):
        async with session.stream("x") as stream:
            assert await anext(stream) == "one"
        worker.stopped.wait_for(1)  # long before the resume window of a minute is over
        assert stream.invocation_id is not None
        assert await session.invocation(stream.invocation_id).status() == "cancelled"


async def test_leaving_a_stream_that_goes_on_leaves_the_agent_at_work() -> None:
    async with at_work() as (worker, session):
        async with session.stream("x", on_disconnect="continue") as stream:
            assert await anext(stream) == "one"
        worker.gate.open()
        assert stream.invocation_id is not None
        assert (await session.invocation(stream.invocation_id).result()).result == "onetwo"


async def test_calls_with_one_key_run_the_agent_once() -> None:
    async with at_work() as (worker, session):
        request = {"do": "answer", "value": 7}
        first = await session.invoke(request, idempotency_key="order-7")
        again = await session.invoke(request, idempotency_key="order-7")
        async with session.stream(request, idempotency_key="order-7") as stream:
            assert [chunk async for chunk in stream] == [7]
        with pytest.raises(IdempotencyKeyReusedError):
            await session.invoke({"do": "answer", "value": 8}, idempotency_key="order-7")
    assert (first.result, first.replayed, again.result, again.replayed) == (7, False, 7, True)
    assert first.invocation_id == again.invocation_id == stream.invocation_id
    assert stream.replayed
    assert worker.began.value == 1
