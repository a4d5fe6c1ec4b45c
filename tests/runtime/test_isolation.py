"""`isolate_handlers`: async handlers on a second event loop, where a blocking one cannot delay `/ping`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gated import never_ending
from tests.support.gates import Gate, aside, eventually, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, invoke, request, streaming

pytestmark = pytest.mark.contract


def isolated(**settings: Any) -> PPIOAgentRuntimeApp:
    return PPIOAgentRuntimeApp(AgentConfig(isolate_handlers=True, **settings))


def test_ping_answers_while_an_async_handler_blocks_its_loop() -> None:
    app, go_on, inside = isolated(), Gate("go on"), Gate("inside")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        inside.open()
        go_on.wait()  # blocks the loop, as it should not
        return "done"

    with opening(go_on), running(app) as url, Connection(url) as caller:
        caller.post()
        inside.wait()
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        assert not go_on.is_open
        go_on.open()
        assert caller.read_answer().result == "done"


def test_ping_answers_503_in_time_while_its_async_ping_handlers_loop_is_blocked() -> None:
    app, go_on, inside = isolated(ping_timeout_seconds=0.05), Gate("go on"), Gate("inside")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        inside.open()
        go_on.wait()

    @app.ping
    async def ping() -> str:
        return "ok"

    with opening(go_on), running(app) as url, Connection(url) as caller:
        caller.post()
        inside.wait()
        assert get(url, "/ping").status == 503
        go_on.open()
        assert caller.read_answer().status == 200
        eventually(lambda: get(url, "/ping").status == 200, "healthy again")


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_streams_are_complete_and_in_order(kind: str) -> None:
    app = isolated()

    if kind == "async":

        @app.entrypoint
        async def numbers(payload: dict[str, object]) -> AsyncIterator[int]:
            for number in range(3000):
                yield number

    else:

        @app.entrypoint
        def numbers_in_a_thread(payload: dict[str, object]) -> Iterator[int]:
            yield from range(3000)

    with running(app) as url:
        *chunks, done = invoke(url, headers=PROTOCOL_1 | EVENT_STREAM).events
    assert [event.data for event in chunks] == list(range(3000))
    assert done.kind == "done"


def test_chunks_are_not_late() -> None:
    app, go_on = isolated(), Gate("go on")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        yield 1
        await go_on.passed()
        yield 2

    with opening(go_on), running(app) as url, streaming(url) as connection:
        events = connection.events()
        assert next(events).data == 1
        go_on.open()
        assert next(events).data == 2


@pytest.mark.parametrize("leave", [Connection.close, Connection.reset], ids=["FIN", "RST"])
def test_vanished_caller_cancels_the_handler(leave: Callable[[Connection], None]) -> None:
    app = isolated()
    begun, cancelled = never_ending(app)

    with running(app) as url:
        caller = Connection(url)
        caller.post()
        begun.wait()
        leave(caller)
        cancelled.wait()


def test_vanished_slow_reader_closes_the_generator() -> None:
    app, closed = isolated(), Gate("closed")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[str]:
        try:
            while True:
                yield "x" * 10_000
        finally:
            closed.open()

    with running(app) as url:
        reader = Connection(url, receive_buffer_bytes=4096)
        reader.post(headers=EVENT_STREAM)
        reader.read_head()
        reader.reset()
        closed.wait()


def test_errors_and_timeouts_are_answered_as_everywhere() -> None:
    app = isolated()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        if payload.get("wait"):
            await asyncio.Future()
        raise SystemExit(1)

    with running(app) as url:
        assert invoke(url).json["error_type"] == "HandlerError"
        assert invoke(url, {"wait": True}, {"X-PPIO-Timeout": "0.05"}).json["error_type"] == "InvocationTimeoutError"
        assert get(url, "/nowhere").json["error_type"] == "NotFoundError"


def test_middleware_runs_around_the_handler() -> None:
    app = isolated()

    @app.middleware
    async def marks(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        response = await call_next(request)
        response.headers["x-marked"] = "yes"
        return response

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        yield 1

    with running(app) as url:
        answer = invoke(url)
    assert answer.headers["x-marked"] == "yes"
    assert [event.data for event in answer.events] == [1]


def test_middleware_that_calls_sys_exit_does_not_end_the_service() -> None:
    app = isolated()

    @app.middleware
    async def exits(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        if "x-exit" in request.headers:
            raise SystemExit(1)
        return await call_next(request)

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        return "here"

    with running(app) as url:
        assert invoke(url, headers={"x-exit": "1"}).status == 500
        assert invoke(url).result == "here"


def test_context_is_bound_on_the_second_loop_too() -> None:
    app = isolated()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[str | None]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield None if app.context is None else app.context.request_id

    with running(app) as url:
        answer = invoke(url, headers={"X-PPIO-Request-Id": "mine"})
    assert [event.data for event in answer.events] == ["mine", "mine"]


def test_hundred_callers_at_once_get_their_own_answers() -> None:
    app = isolated()

    @app.entrypoint
    async def handler(payload: dict[str, int]) -> int:
        await asyncio.sleep(0)
        return payload["number"]

    with running(app) as url:
        asked = [aside(lambda number=number: invoke(url, {"number": number}).result) for number in range(100)]  # type: ignore[misc]
        assert [each.result() for each in asked] == list(range(100))


def test_vanished_uploader_leaves_nothing_behind() -> None:
    app = isolated()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        return "here"

    with running(app) as url:
        for _ in range(20):
            caller = Connection(url)
            caller.send(request({"prompt": "half of it"})[:-5])
            caller.reset()
        assert invoke(url).result == "here"
