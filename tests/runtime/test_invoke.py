"""The agent called in process: what `app.invoke` promises to other protocols."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel
from starlette.responses import PlainTextResponse

from ppio_agent_runtime import (
    AgentError,
    ConfigurationError,
    PPIOAgentRuntimeApp,
    PPIOAgentRuntimeError,
    RequestContext,
)
from tests.support.in_process import Numbers, app_with, ping_status

pytestmark = pytest.mark.contract


async def test_a_value_is_what_a_caller_over_http_would_decode() -> None:
    @dataclass
    class Answer:
        at: datetime
        words: set[str]

    async def agent(request: dict[str, Any]) -> Answer:
        return Answer(datetime(2026, 1, 2, tzinfo=UTC), {request["prompt"]})

    assert await app_with(agent).invoke({"prompt": "tea"}) == {"at": "2026-01-02T00:00:00Z", "words": ["tea"]}


async def test_a_plain_function_runs_in_a_thread() -> None:
    def agent(request: dict[str, Any]) -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await app_with(agent).invoke({}) is False


async def test_an_async_generator_gives_an_iterator_of_chunks() -> None:
    async def agent(request: dict[str, Any]) -> AsyncIterator[dict[str, int]]:
        for number in range(3):
            yield {"n": number}

    stream = await app_with(agent).invoke({})

    assert [chunk async for chunk in stream] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert [chunk async for chunk in stream] == []


async def test_a_plain_generator_streams_too() -> None:
    def agent(request: dict[str, Any]) -> Iterator[int]:
        yield from range(1000)

    stream = await app_with(agent).invoke({})

    assert [chunk async for chunk in stream] == list(range(1000))


async def test_a_generator_asked_for_a_value_is_collected() -> None:
    def agent(request: dict[str, Any]) -> Iterator[str]:
        yield from ("a", "\N{SNOWMAN}", "c")

    assert await app_with(agent).invoke({}, stream=False) == "a\N{SNOWMAN}c"


async def test_a_value_asked_for_as_a_stream_is_one_chunk() -> None:
    async def agent(request: dict[str, Any]) -> list[int]:
        return [1, 2]

    async with await app_with(agent).invoke({}, stream=True) as stream:
        assert [chunk async for chunk in stream] == [[1, 2]]


async def test_a_response_comes_back_as_it_is() -> None:
    async def agent(request: dict[str, Any]) -> PlainTextResponse:
        return PlainTextResponse("hello")

    assert (await app_with(agent).invoke({})).body == b"hello"


class Order(BaseModel):
    item: str
    quantity: int


async def test_the_payload_is_validated_like_a_body() -> None:
    async def agent(order: Order) -> str:
        return f"{order.quantity} x {order.item}"

    app = app_with(agent, max_request_size=100)

    assert await app.invoke({"item": "tea", "quantity": 2}) == "2 x tea"
    assert await app.invoke(Order(item="tea", quantity=3)) == "3 x tea"
    for payload, status, words in [
        ({"item": "tea", "quantity": "many"}, 422, "quantity"),
        ({"item": "tea" * 50, "quantity": 1}, 413, "max_request_size"),
        ({"item": object(), "quantity": 1}, 422, "the payload.item"),
    ]:
        with pytest.raises(PPIOAgentRuntimeError, match=words) as refused:
            await app.invoke(payload)
        assert refused.value.status_code == status


async def test_a_given_context_is_the_one_the_handler_sees() -> None:
    seen: list[RequestContext] = []

    async def agent(request: dict[str, Any], context: RequestContext) -> str | None:
        seen.append(context)
        return context.session_id

    app = app_with(agent)
    context = RequestContext(user_id="ada")

    assert await app.invoke({"session_id": "s1"}, context) == "s1"
    assert seen == [context]
    assert app.context is None


async def test_without_a_context_one_is_made() -> None:
    async def agent(request: dict[str, Any], context: RequestContext) -> list[Any]:
        return [len(context.request_id), context.session_id, context.metadata, context.timeout]

    answer = await app_with(agent).invoke({"session_id": "s1", "metadata": {"a": 1}, "timeout": 7})

    assert answer == [32, "s1", {"a": 1}, 7]


async def test_the_configured_timeout_is_the_ceiling() -> None:
    async def agent(request: dict[str, Any], context: RequestContext) -> float:
        return context.timeout

    app = app_with(agent, timeout=5)

    assert await app.invoke({}, RequestContext(timeout=60)) == 5
    assert await app.invoke({"timeout": 60}, RequestContext()) == 5
    assert await app.invoke({"timeout": 60}, RequestContext(timeout=2)) == 2


async def test_a_timeout_ends_the_handler_and_is_told() -> None:
    ended = asyncio.Event()

    async def agent(request: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(PPIOAgentRuntimeError) as told:
        await app_with(agent, timeout=0.5).invoke({})

    assert (told.value.status_code, told.value.error_type) == (504, "InvocationTimeoutError")
    assert told.value.request_id
    assert ended.is_set()


async def test_a_stream_that_takes_too_long_ends_with_the_timeout() -> None:
    numbers = Numbers()
    app = app_with(numbers, stream_timeout=0.5)

    with pytest.raises(PPIOAgentRuntimeError) as told:
        async for _ in await app.invoke({}):
            pass

    assert told.value.status_code == 504
    await numbers.closed.wait()


async def test_what_the_agent_raised_is_hidden_from_callers() -> None:
    async def agent(request: dict[str, Any]) -> None:
        raise ValueError("the password is 123")

    with pytest.raises(PPIOAgentRuntimeError) as told:
        await app_with(agent).invoke({}, RequestContext(request_id="r1"))

    assert (told.value.status_code, told.value.error_type, told.value.request_id) == (500, "HandlerError", "r1")
    assert "password" not in str(told.value)
    assert isinstance(told.value.__cause__, ValueError)


async def test_what_the_agent_means_for_callers_reaches_them() -> None:
    async def agent(request: dict[str, Any]) -> AsyncIterator[int]:
        yield 1
        raise AgentError("no more", status_code=418, error_type="Teapot")

    stream = await app_with(agent).invoke({})
    assert await anext(stream) == 1
    with pytest.raises(AgentError, match="no more") as told:
        await anext(stream)

    assert (told.value.status_code, told.value.error_type) == (418, "Teapot")


async def test_a_result_that_is_no_json_is_named_by_its_path() -> None:
    async def agent(request: dict[str, Any]) -> dict[str, Any]:
        return {"items": [1, object()]}

    with pytest.raises(PPIOAgentRuntimeError, match=r"result\.items\[1\]"):
        await app_with(agent).invoke({})


async def test_an_agent_may_call_itself_within_its_own_time() -> None:
    async def agent(request: dict[str, Any], context: RequestContext) -> list[Any]:
        mine = [context.request_id, context.session_id, context.invocation_id]
        if request["depth"]:
            inner = await app.invoke({"depth": 0}, context)
            assert app.context is context
            return [mine, inner]
        return [*mine, context.timeout <= 9]

    app = app_with(agent)
    outer, inner = await app.invoke({"depth": 1}, RequestContext(session_id="s1", timeout=9))

    assert inner[:2] == outer[:2]
    assert inner[2] != outer[2]
    assert inner[3] is True


async def test_a_context_of_another_kind_is_a_clear_error() -> None:
    async def agent(request: dict[str, Any]) -> None:
        return None

    with pytest.raises(ConfigurationError, match="RequestContext"):
        await app_with(agent).invoke({}, {"session_id": "s1"})  # type: ignore[call-overload]


async def test_an_app_without_entrypoint_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"@app\.entrypoint"):
        await PPIOAgentRuntimeApp().invoke({})


async def test_work_in_process_is_in_flight_for_ping() -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def agent(request: dict[str, Any]) -> None:
        entered.set()
        await leave.wait()

    app = app_with(agent)
    task = asyncio.create_task(app.invoke({}))
    await entered.wait()
    busy = await ping_status(app)
    leave.set()
    await task

    assert (busy, await ping_status(app)) == ("HealthyBusy", "Healthy")


async def test_a_given_context_starts_its_clock_with_the_call() -> None:
    async def agent(request: dict[str, Any], context: RequestContext) -> bool:
        return context.started >= began

    context = RequestContext(timeout=30)
    began = time.monotonic()

    assert await app_with(agent).invoke({}, context) is True
