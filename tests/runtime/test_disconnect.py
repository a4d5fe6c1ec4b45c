"""A caller that vanishes stops its invocation, whatever kind of handler it has and however it vanishes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.runtime.wire import metric
from tests.support.gated import never_ending
from tests.support.gates import Gate, eventually, opening
from tests.support.raw_http import Connection, get, invoke, request, streaming

pytestmark = pytest.mark.contract

Leave = Callable[[Connection], None]

by_fin_and_rst = pytest.mark.parametrize("leave", [Connection.close, Connection.reset], ids=["FIN", "RST"])


@by_fin_and_rst
def test_vanished_caller_cancels_an_async_value(leave: Leave) -> None:
    app = PPIOAgentRuntimeApp()
    begun, cancelled = never_ending(app)

    with running(app) as url:
        connection = Connection(url)
        connection.post()
        begun.wait()
        leave(connection)
        cancelled.wait()


@by_fin_and_rst
def test_vanished_caller_closes_a_stream_that_was_silent_from_the_start(leave: Leave) -> None:
    app, begun, closed = PPIOAgentRuntimeApp(), Gate("begun"), Gate("closed")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        begun.open()
        try:
            await asyncio.Future()
            yield 1
        finally:
            closed.open()

    with running(app) as url:
        connection = Connection(url)
        connection.post()
        begun.wait()
        leave(connection)
        closed.wait()


@by_fin_and_rst
def test_vanished_caller_closes_a_sync_generator_at_its_next_yield(leave: Leave) -> None:
    app, closed, go_on, gone = PPIOAgentRuntimeApp(), Gate("closed"), Gate("go on"), Gate("gone")
    yielded: list[int] = []

    @app.entrypoint
    def handler(payload: dict[str, object], context: RequestContext) -> Iterator[int]:
        try:
            yield 1
            eventually(lambda: context.cancelled, "the cancel")
            gone.open()
            go_on.wait()
            for number in range(2, 1000):
                yielded.append(number)
                yield number
        finally:
            closed.open()

    with opening(go_on), running(app) as url, streaming(url) as connection:
        assert next(connection.events()).data == 1
        leave(connection)
        gone.wait()
        assert not closed.is_open
        go_on.open()
        closed.wait()
    assert yielded == [2]


def test_vanished_caller_is_seen_by_a_sync_handler_as_context_cancelled() -> None:
    app, begun, seen = PPIOAgentRuntimeApp(), Gate("begun"), Gate("seen")

    @app.entrypoint
    def handler(payload: dict[str, object], context: RequestContext) -> None:
        begun.open()
        eventually(lambda: context.cancelled, "the cancel")
        seen.open()

    with running(app) as url:
        connection = Connection(url)
        connection.post()
        begun.wait()
        connection.close()
        seen.wait()


def test_vanished_caller_cancels_a_generator_that_is_collected_into_json() -> None:
    app, begun, closed = PPIOAgentRuntimeApp(), Gate("begun"), Gate("closed")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        try:
            yield 1
            begun.open()
            await asyncio.Future()
        finally:
            closed.open()

    with running(app) as url:
        connection = Connection(url)
        connection.post(headers={"Accept": "application/json"})
        begun.wait()
        connection.close()
        closed.wait()


@by_fin_and_rst
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_vanished_slow_reader_closes_a_generator_whose_writer_is_blocked(kind: str, leave: Leave) -> None:
    app, blocked, closed = PPIOAgentRuntimeApp(), Gate("blocked"), Gate("closed")
    text = "x" * 16_384
    made = 0

    def note() -> str:
        nonlocal made
        made += 1
        if made * len(text) > 200 * 1024:
            blocked.open()
        return text

    if kind == "async":

        @app.entrypoint
        async def endless(payload: dict[str, object]) -> AsyncIterator[str]:
            try:
                while True:
                    yield note()
            finally:
                closed.open()

    else:

        @app.entrypoint
        def endless_in_a_thread(payload: dict[str, object]) -> Iterator[str]:
            try:
                while True:
                    yield note()
            finally:
                closed.open()

    with running(app) as url:
        connection = Connection(url, receive_buffer_bytes=4096)
        connection.post()
        blocked.wait()
        leave(connection)
        closed.wait()


def test_vanished_uploader_never_reaches_the_handler_and_leaves_no_error(caplog: pytest.LogCaptureFixture) -> None:
    app, called = PPIOAgentRuntimeApp(), Gate("called")

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None:
        called.open()

    with running(app) as url:
        connection = Connection(url)
        connection.send(request({"prompt": "half of it"})[:-5])
        connection.reset()
        assert get(url, "/ping").json["status"] == "Healthy"
    assert not called.is_open
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_vanished_caller_leaves_no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    app = PPIOAgentRuntimeApp()
    begun, cancelled = never_ending(app)

    with running(app) as url:
        connection = Connection(url)
        connection.post()
        begun.wait()
        connection.reset()
        cancelled.wait()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_finally_blocks_of_a_cancelled_handler_may_await() -> None:
    app, begun, cleaned = PPIOAgentRuntimeApp(), Gate("begun"), Gate("cleaned")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> None:
        begun.open()
        try:
            await asyncio.Future()
        finally:
            await asyncio.sleep(0.01)
            cleaned.open()

    with running(app) as url:
        connection = Connection(url)
        connection.post()
        begun.wait()
        connection.close()
        cleaned.wait()


def test_vanished_caller_frees_the_service_to_be_healthy_again() -> None:
    app = PPIOAgentRuntimeApp()
    begun, _ = never_ending(app)

    with running(app) as url:
        connection = Connection(url)
        connection.post()
        begun.wait()
        assert get(url, "/ping").json["status"] == "HealthyBusy"
        connection.close()
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle again")


def test_vanished_caller_of_a_queued_sync_handler_is_never_worked_for() -> None:
    app, begun, go_on = PPIOAgentRuntimeApp(AgentConfig(sync_workers=1)), Gate("begun"), Gate("go on")
    worked_for: list[object] = []

    @app.entrypoint
    def handler(payload: dict[str, object]) -> None:
        worked_for.append(payload["who"])
        begun.open()
        go_on.wait()

    with opening(go_on), running(app) as url, Connection(url) as first:
        first.post({"who": "first"})
        begun.wait()
        second = Connection(url)
        second.post({"who": "second"})
        eventually(lambda: metric(url, "ppio_agent_invocations_in_flight") == 2, "the second is queued")
        second.close()
        eventually(lambda: metric(url, "ppio_agent_invocations_in_flight") == 1, "the second is given up")
        go_on.open()
        assert first.read_answer().status == 200
        assert invoke(url, {"who": "third"}).status == 200
    assert worked_for == ["first", "third"]


def test_generator_closed_because_of_a_value_that_cannot_be_json_runs_its_finally_in_its_own_thread_kind() -> None:
    import threading

    app, closed_in = PPIOAgentRuntimeApp(), []

    @app.entrypoint
    def handler(payload: dict[str, object]) -> Iterator[object]:
        try:
            yield 1
            yield object()
        finally:
            closed_in.append(threading.current_thread().name.rpartition("-")[0])

    with running(app) as url, streaming(url) as connection:
        events = list(connection.events())
    assert events[-1].data["error_type"] == "SerializationError"
    assert closed_in == ["agent-worker"]


def test_stream_whose_request_task_is_cancelled_by_a_middleware_closes_its_generator() -> None:
    app, closed = PPIOAgentRuntimeApp(), Gate("closed")

    @app.middleware
    async def replaces(request: Any, call_next: Callable[[object], Awaitable[Any]]) -> Any:
        from starlette.responses import PlainTextResponse

        inner = await call_next(request)
        if request.url.path == "/ping":
            return inner
        return PlainTextResponse("something else")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Future()
        finally:
            closed.open()

    with running(app) as url:
        assert invoke(url).body == b"something else"
        closed.wait()
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle again")
