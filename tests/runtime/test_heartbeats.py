"""Whoever asks for a stream is kept awake, whatever the handler makes of it and however long it is silent first."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import refusal
from tests.support.gates import Gate, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, invoke, streaming

pytestmark = pytest.mark.contract

HEARTBEAT = b": keep-alive"
NEVER_SECONDS = 3600.0
both_protocols = pytest.mark.parametrize("protocol", [{}, PROTOCOL_1], ids=["plain", "protocol 1"])

Work = Callable[[Gate], Any]


def value(gate: Gate) -> Any:
    gate.wait()
    return {"n": 1}


async def async_value(gate: Gate) -> Any:
    await gate.passed()
    return {"n": 1}


def returned_generator(gate: Gate) -> Any:
    gate.wait()
    return iter_one()


async def returned_async_generator(gate: Gate) -> Any:
    await gate.passed()
    return async_iter_one()


def iter_one() -> Iterator[Any]:
    yield {"n": 1}


async def async_iter_one() -> AsyncIterator[Any]:
    yield {"n": 1}


async def failure(gate: Gate) -> Any:
    await gate.passed()
    raise AgentError("no paper", status_code=409, error_type="OutOfPaper")


async def plain_response(gate: Gate) -> Any:
    await gate.passed()
    return PlainTextResponse("own")


async def event_response(gate: Gate) -> Any:
    await gate.passed()
    return StreamingResponse(own_events(), media_type="text/event-stream")


async def own_events() -> AsyncIterator[bytes]:
    yield b"data: own\n\n"


@contextmanager
def agent(work: Work, **settings: Any) -> Iterator[tuple[str, Gate]]:
    app, gate = PPIOAgentRuntimeApp(AgentConfig(**{"heartbeat_seconds": 0.05, **settings})), Gate()
    if inspect.iscoroutinefunction(work):

        @app.entrypoint
        async def handler(payload: Any) -> Any:
            return await work(gate)

    else:

        @app.entrypoint
        def handler(payload: Any) -> Any:
            return work(gate)

    with opening(gate), running(app) as url:
        yield url, gate


def after_two_heartbeats(url: str, gate: Gate, headers: dict[str, str]) -> list[bytes]:
    """Return what comes after the comments of a handler that was silent for some heartbeats."""
    with streaming(url, {}, {**EVENT_STREAM, **headers}) as connection:
        blocks = connection.blocks()
        assert [next(blocks), next(blocks)] == [HEARTBEAT, HEARTBEAT]
        gate.open()
        return [block for block in blocks if block != HEARTBEAT]


@pytest.mark.parametrize("work", [value, async_value, returned_generator, returned_async_generator])
def test_silence_before_a_value_is_filled_with_comments(work: Work) -> None:
    with agent(work) as (url, gate):
        assert after_two_heartbeats(url, gate, {}) == [b'data: {"n":1}', b": done"]


@pytest.mark.parametrize("work", [value, async_value, returned_generator, returned_async_generator])
def test_silence_before_a_value_is_filled_with_comments_in_protocol_1(work: Work) -> None:
    with agent(work) as (url, gate):
        first, last = after_two_heartbeats(url, gate, PROTOCOL_1)
    assert first == b'id: 1\ndata: {"n":1}'
    assert last.startswith(b"event: done\nid: 2\n")


def test_body_that_asks_for_a_stream_is_kept_awake_too() -> None:
    with agent(async_value) as (url, gate), streaming(url, {"stream": True}) as connection:
        blocks = connection.blocks()
        assert next(blocks) == HEARTBEAT
        gate.open()
        assert [block for block in blocks if block != HEARTBEAT] == [b'data: {"n":1}', b": done"]


@both_protocols
def test_stream_that_waits_for_its_turn_is_kept_awake(protocol: dict[str, str]) -> None:
    begun, go_on = Gate("begun"), Gate("go on")
    app = PPIOAgentRuntimeApp(AgentConfig(heartbeat_seconds=0.05, max_concurrency=1, when_busy="queue"))

    @app.entrypoint
    async def handler(payload: Any) -> AsyncIterator[int]:
        begun.open()
        await go_on.passed()
        yield 1

    with opening(go_on), running(app) as url, Connection(url) as first:
        first.post({}, EVENT_STREAM)
        begun.wait()
        with streaming(url, {}, protocol) as second:
            blocks = second.blocks()
            assert next(blocks) == HEARTBEAT
            go_on.open()
            assert b"data: 1" in [block.split(b"\n")[-1] for block in blocks]


@both_protocols
def test_failure_within_the_first_heartbeat_is_a_true_status(protocol: dict[str, str]) -> None:
    with agent(failure, heartbeat_seconds=NEVER_SECONDS) as (url, gate):
        gate.open()
        answer = invoke(url, {}, {**EVENT_STREAM, **protocol})
    assert refusal(answer, 409, "OutOfPaper") == "no paper"


def test_failure_after_the_first_heartbeat_is_the_last_data() -> None:
    with agent(failure) as (url, gate):
        (last,) = after_two_heartbeats(url, gate, {})
    envelope = json.loads(last.removeprefix(b"data: "))
    assert (envelope["error"], envelope["error_type"]) == ("no paper", "OutOfPaper")


def test_timeout_after_the_first_heartbeat_is_the_last_data() -> None:
    with agent(async_value, timeout=1.5) as (url, _), streaming(url, {}, EVENT_STREAM) as connection:
        *comments, last = connection.blocks()
    assert set(comments) == {HEARTBEAT}
    assert json.loads(last.removeprefix(b"data: "))["error_type"] == "InvocationTimeoutError"


def test_handler_that_refuses_to_end_does_not_keep_its_caller() -> None:
    freed = Gate("freed")

    async def refuses_to_end(gate: Gate) -> Any:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            await freed.passed()

    with opening(freed), agent(refuses_to_end, timeout=1.5) as (url, _), streaming(url, {}, EVENT_STREAM) as connection:
        *_, last = connection.blocks()
        assert json.loads(last.removeprefix(b"data: "))["error_type"] == "InvocationTimeoutError"
        freed.open()


@pytest.mark.parametrize("heartbeat_seconds", [0.05, NEVER_SECONDS], ids=["after a heartbeat", "before any"])
def test_vanished_caller_of_a_silent_value_cancels_it(heartbeat_seconds: float) -> None:
    begun, cancelled = Gate("begun"), Gate("cancelled")

    async def work(gate: Gate) -> Any:
        begun.open()
        try:
            await gate.passed()
        except asyncio.CancelledError:
            cancelled.open()
            raise

    with agent(work, heartbeat_seconds=heartbeat_seconds) as (url, _), Connection(url) as connection:
        connection.post({}, EVENT_STREAM)
        begun.wait()
        if heartbeat_seconds < NEVER_SECONDS:
            connection.read_head()
            assert next(connection.blocks()) == HEARTBEAT
        connection.close()
        cancelled.wait()


def test_value_that_was_streamed_is_not_held(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ppio_agent_runtime.access")
    with agent(async_value, access_log=True) as (url, gate):
        gate.open()
        invocation_id = invoke(url, {}, EVENT_STREAM).headers["x-ppio-invocation-id"]
        refusal(get(url, f"/invocations/{invocation_id}"), 404, "NotFoundError")
    assert f"Invocation {invocation_id} succeeded: stream" in caplog.text


@both_protocols
@pytest.mark.parametrize(("work", "body"), [(plain_response, b"own"), (event_response, b"data: own\n\n")])
def test_response_within_the_first_heartbeat_is_sent_as_it_is(
    work: Work, body: bytes, protocol: dict[str, str]
) -> None:
    with agent(work, heartbeat_seconds=NEVER_SECONDS) as (url, gate):
        gate.open()
        assert invoke(url, {}, {**EVENT_STREAM, **protocol}).body == body


def test_event_stream_of_the_agents_own_goes_on_after_the_comments() -> None:
    with agent(event_response) as (url, gate):
        assert after_two_heartbeats(url, gate, {}) == [b"data: own"]


@pytest.mark.parametrize(
    ("work", "protocol"), [(plain_response, {}), (plain_response, PROTOCOL_1), (event_response, PROTOCOL_1)]
)
def test_response_that_comes_too_late_is_an_error(work: Work, protocol: dict[str, str]) -> None:
    with agent(work) as (url, gate):
        (last,) = after_two_heartbeats(url, gate, protocol)
    envelope = json.loads(last.split(b"data: ")[-1])
    assert (envelope["status"], envelope["error_type"]) == ("error", "SerializationError")
    assert last.startswith(b"event: error\nid: 1\n" if protocol else b"data: ")


@both_protocols
def test_response_that_takes_longer_than_a_heartbeat_is_not_disturbed(protocol: dict[str, str]) -> None:
    go_on = Gate("go on")
    app = PPIOAgentRuntimeApp(AgentConfig(heartbeat_seconds=0.05))

    async def slow_body() -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await go_on.passed()
        yield b"data: 2\n\n"

    @app.entrypoint
    async def handler(payload: dict[str, bool]) -> Any:
        if payload:
            return await go_on.passed()
        return StreamingResponse(slow_body(), media_type="text/event-stream")

    headers = {**EVENT_STREAM, **protocol}
    with opening(go_on), running(app) as url, streaming(url, {}, headers) as connection:
        blocks = connection.blocks()
        assert next(blocks) == b"data: 1"
        with streaming(url, {"silent": True}, headers) as clock:
            beats = clock.blocks()
            assert [next(beats), next(beats), next(beats)] == [HEARTBEAT] * 3
        go_on.open()
        assert list(blocks) == [b"data: 2"]
