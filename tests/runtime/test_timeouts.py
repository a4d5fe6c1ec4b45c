"""Nobody works longer than allowed, and every caller is told in the form that fits the moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.gates import Gate, eventually, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, invoke, streaming

pytestmark = pytest.mark.contract

SHORT = 0.05
LONG_ENOUGH = 1.0
"""Seconds in which a busy machine too gets a stream to its first chunk."""
"""Seconds; what is limited by it never ends by itself."""


def test_async_value_over_its_time_is_504() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        await asyncio.Future()

    with running(app) as url:
        answer = invoke(url)
    assert answer.status == 504
    assert answer.json["status"] == "error"
    assert answer.json["error_type"] == "InvocationTimeoutError"
    assert answer.json["error"] == "The agent did not finish within 0.05 s."


@pytest.mark.parametrize("headers", [{}, PROTOCOL_1], ids=["plain", "protocol 1"])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_timeout_is_one_line_in_the_log(
    is_async: bool, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    app, go_on = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT)), Gate("go on")

    async def waiting(payload: dict[str, object]) -> None:
        await asyncio.Future()

    def blocking(payload: dict[str, object]) -> None:
        go_on.wait()

    app.entrypoint(waiting if is_async else blocking)
    with opening(go_on), running(app) as url:
        assert invoke(url, headers=headers).status == 504
        go_on.open()
    [line] = [record for record in caplog.records if "failed" in record.getMessage()]
    assert line.getMessage().endswith("InvocationTimeoutError: The agent did not finish within 0.05 s.")
    assert line.exc_info is None


def test_sync_value_over_its_time_is_504_while_its_thread_still_works() -> None:
    app, go_on = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT)), Gate("go on")

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None:
        go_on.wait()

    with opening(go_on), running(app) as url:
        answer = invoke(url)
        assert not go_on.is_open
        go_on.open()
    assert (answer.status, answer.json["error_type"]) == (504, "InvocationTimeoutError")


def test_sync_handler_over_its_time_sees_context_cancelled() -> None:
    app, seen = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT)), Gate("seen")

    @app.entrypoint
    def handler(payload: dict[str, object], context: RequestContext) -> None:
        eventually(lambda: context.cancelled, "the cancel")
        seen.open()

    with running(app) as url:
        assert invoke(url).status == 504
        seen.wait()


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_stream_over_its_time_before_the_first_chunk_is_504(kind: str) -> None:
    app, go_on = PPIOAgentRuntimeApp(AgentConfig(stream_timeout=SHORT)), Gate("go on")

    if kind == "async":

        @app.entrypoint
        async def silent(payload: dict[str, object]) -> AsyncIterator[int]:
            await asyncio.Future()
            yield 1

    else:

        @app.entrypoint
        def silent_in_a_thread(payload: dict[str, object]) -> Iterator[int]:
            go_on.wait()
            yield 1

    with opening(go_on), running(app) as url:
        answer = invoke(url)
        go_on.open()
    assert (answer.status, answer.json["error_type"]) == (504, "InvocationTimeoutError")


def test_stream_over_its_time_after_a_chunk_ends_with_an_error_event() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(stream_timeout=LONG_ENOUGH))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[str]:
        yield "first"
        await asyncio.Future()

    with running(app) as url, streaming(url, headers=PROTOCOL_1) as connection:
        chunk, error = connection.events()
    assert (chunk.data, chunk.event_id) == ("first", 1)
    assert (error.kind, error.event_id, error.data["error_type"]) == ("error", 2, "InvocationTimeoutError")


def test_stream_over_its_time_ends_with_an_error_as_last_data_line_for_plain_callers() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(stream_timeout=LONG_ENOUGH))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[str]:
        yield "first"
        await asyncio.Future()

    with running(app) as url, streaming(url) as connection:
        chunk, error = connection.events()
    assert (chunk.data, chunk.event_id) == ("first", None)
    assert (error.kind, error.data["error_type"]) == ("chunk", "InvocationTimeoutError")


def test_requested_timeout_is_kept_under_the_ceiling() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=300))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        await asyncio.Future()

    with running(app) as url:
        by_header = invoke(url, headers={"X-PPIO-Timeout": "0.05"})
        by_body = invoke(url, {"timeout": 0.06})
    assert (by_header.status, by_header.json["error"]) == (504, "The agent did not finish within 0.05 s.")
    assert (by_body.status, by_body.json["error"]) == (504, "The agent did not finish within 0.06 s.")


def test_requested_timeout_is_capped_at_the_ceiling() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        await asyncio.Future()

    with running(app) as url:
        answer = invoke(url, headers={"X-PPIO-Timeout": "3600"})
    assert (answer.status, answer.json["error"]) == (504, "The agent did not finish within 0.05 s.")


def test_requested_timeout_of_a_stream_is_kept_under_the_ceiling_of_streams() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT, stream_timeout=3600))

    @app.entrypoint
    async def handler(payload: dict[str, object], context: RequestContext) -> AsyncIterator[float]:
        yield context.timeout

    with running(app) as url:
        unasked = invoke(url).events
        asked = invoke(url, headers={"X-PPIO-Timeout": "60"}).events
        asked_too_much = invoke(url, headers={"X-PPIO-Timeout": "7200"}).events
    assert [unasked[0].data, asked[0].data, asked_too_much[0].data] == [3600, 60, 3600]


def test_generator_collected_into_json_has_the_limit_of_values() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT, stream_timeout=3600))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        yield 1
        await asyncio.Future()

    with running(app) as url:
        answer = invoke(url, headers={"Accept": "application/json"})
    assert (answer.status, answer.json["error_type"]) == (504, "InvocationTimeoutError")


def test_handler_that_swallows_its_cancellation_still_gets_its_caller_a_504() -> None:
    app, go_on, ended = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT)), Gate("go on"), Gate("ended")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        while not go_on.is_open:
            try:
                await go_on.passed()
            except asyncio.CancelledError:
                continue
        ended.open()
        return "too late"

    with opening(go_on), running(app) as url, Connection(url) as connection:
        connection.post()
        answer = connection.read_answer()
        assert (answer.status, answer.json["error_type"]) == (504, "InvocationTimeoutError")
        assert not ended.is_open
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        go_on.open()
        ended.wait()
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle again")


def test_generator_that_swallows_its_cancellation_still_gets_its_caller_an_end() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(stream_timeout=LONG_ENOUGH))
    go_on, swallowed = Gate("go on"), Gate("swallowed")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        number = 0
        while not go_on.is_open:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                swallowed.open()
            number += 1
            yield number

    with opening(go_on), running(app) as url, streaming(url, headers=PROTOCOL_1) as connection:
        *_, last = connection.events()
        swallowed.wait()
        assert (last.kind, last.data["error_type"]) == ("error", "InvocationTimeoutError")
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "the generator was closed")


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
def test_handlers_own_timeout_or_cancellation_is_a_handler_error(error: type[BaseException]) -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        raise error("of its own")

    with running(app) as url:
        answer = invoke(url)
    assert (answer.status, answer.json["error_type"]) == (500, "HandlerError")


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
def test_generators_own_timeout_or_cancellation_is_a_handler_error(error: type[BaseException]) -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        yield 1
        raise error("of its own")

    with running(app) as url, streaming(url, headers=PROTOCOL_1) as connection:
        *_, last = connection.events()
    assert (last.kind, last.data["error_type"]) == ("error", "HandlerError")


def test_handler_that_awaits_a_cancelled_task_of_its_own_is_a_handler_error() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with running(app) as url:
        answer = invoke(url)
    assert (answer.status, answer.json["error_type"]) == (500, "HandlerError")


def test_handlers_own_timeouts_work_as_everywhere() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Future()
        except TimeoutError:
            return "my own"
        return "never"

    with running(app) as url:
        assert invoke(url).result == "my own"


def test_cleanup_of_a_handler_over_its_time_runs_before_its_caller_is_answered() -> None:
    app, order = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT)), []

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        try:
            await asyncio.Future()
        finally:
            await asyncio.sleep(0.01)
            order.append("cleaned")

    with running(app) as url:
        assert invoke(url).status == 504
        order.append("answered")
    assert order == ["cleaned", "answered"]


def test_handler_that_returns_when_it_is_cancelled_is_over_its_time_all_the_same() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        try:
            await asyncio.Future()
        except asyncio.CancelledError:
            return "nobody waits for this"
        return "never"

    with running(app) as url:
        assert invoke(url).status == 504


def test_connection_can_be_used_again_after_a_504() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        if payload.get("wait"):
            await asyncio.Future()
        return "done"

    with running(app) as url, Connection(url) as connection:
        connection.post({"wait": True})
        assert connection.read_answer().status == 504
        connection.post()
        assert connection.read_answer().result == "done"


def test_silent_stream_is_kept_alive_with_comments() -> None:
    app, go_on = PPIOAgentRuntimeApp(AgentConfig(heartbeat_seconds=SHORT)), Gate("go on")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        await go_on.passed()
        yield 1

    with opening(go_on), running(app) as url, streaming(url, headers=EVENT_STREAM) as connection:
        blocks = connection.blocks()
        assert [next(blocks), next(blocks)] == [b": keep-alive", b": keep-alive"]
        go_on.open()
        assert b"data: 1" in blocks


def test_body_that_does_not_arrive_in_time_is_408() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(request_read_timeout_seconds=SHORT))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        raise AssertionError("never called")

    with running(app) as url, Connection(url) as connection:
        connection.send(b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 10\r\n\r\n{")
        answer = connection.read_answer()
    assert (answer.status, answer.json["error_type"]) == (408, "RequestReadTimeoutError")
