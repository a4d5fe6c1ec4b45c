"""Whoever takes nothing of an answer for `write_timeout_seconds` is let go, whatever the answer is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.durable import events
from tests.support.gates import Count, Gate, eventually, opening
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get

from .test_backpressure import Standstill

pytestmark = pytest.mark.contract

SIZE = 30_000_000
"""More than all buffers between a handler and its caller."""


def large_answers(write_timeout_seconds: float, **config: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(write_timeout_seconds=write_timeout_seconds, **config))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> Any:
        return stream() if payload.get("streams") else "x" * SIZE

    async def stream() -> AsyncIterator[str]:
        for _ in range(SIZE // 10_000):
            yield "x" * 10_000
        while True:  # to the end of this caller
            await asyncio.sleep(0.01)
            yield "x"

    @app.get("/file")  # type: ignore[untyped-decorator]  # FastAPI's own
    async def file() -> StreamingResponse:
        return StreamingResponse(b"x" * 10_000 for _ in range(SIZE // 10_000))

    return app


REQUESTS = {
    "a value": ({}, {}),
    "a value and the end": ({}, {"Connection": "close"}),
    "a durable value": ({}, PROTOCOL_1),
    "a stream": ({"streams": True}, EVENT_STREAM),
    "a durable stream": ({"streams": True}, EVENT_STREAM | PROTOCOL_1),
}


@pytest.mark.parametrize(("payload", "headers"), REQUESTS.values(), ids=REQUESTS)
def test_reader_that_stands_still_is_let_go(
    payload: Any, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    app = large_answers(0.3, heartbeat_seconds=0.05)
    with running(app) as url, Connection(url, receive_buffer_bytes=4096) as connection:
        connection.post(payload, headers | {"X-PPIO-On-Disconnect": "cancel"})
        eventually(lambda: "write_timeout_seconds" in caplog.text, "it is let go")
        assert len(connection.read_to_the_end()) < SIZE
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "nothing runs for it any more")
    assert caplog.text.count("read nothing of its response") == 1


def test_reader_of_another_route_is_let_go_too(caplog: pytest.LogCaptureFixture) -> None:
    with running(large_answers(0.3)) as url, Connection(url, receive_buffer_bytes=4096) as connection:
        connection.send(b"GET /file HTTP/1.1\r\nHost: agent\r\n\r\n")
        eventually(lambda: "write_timeout_seconds" in caplog.text, "it is let go")
        assert len(connection.read_to_the_end()) < SIZE


@pytest.mark.slow
def test_reader_that_takes_something_now_and_then_gets_everything() -> None:
    with running(large_answers(2.0)) as url, Connection(url, receive_buffer_bytes=65536) as connection:
        connection.post(headers={"Connection": "close"})
        _, headers = connection.read_head()
        begun, taken = time.monotonic(), 0
        while time.monotonic() - begun < 3:  # longer than the limit
            taken += len(connection.socket.recv(1000))
            time.sleep(0.01)
        taken += len(connection.read_to_the_end())
    assert taken == int(headers["content-length"])


def test_slow_producer_does_not_cost_its_reader_the_stream() -> None:
    gate, app = Gate(), PPIOAgentRuntimeApp(AgentConfig(write_timeout_seconds=0.1, heartbeat_seconds=0.05))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        yield "a"
        await gate.passed()
        yield "b"

    with opening(gate), running(app) as url, Connection(url) as connection:
        connection.post(headers=EVENT_STREAM | PROTOCOL_1)
        connection.read_head()
        blocks = connection.blocks()
        kinds = [next(blocks)[:4] for _ in range(10)]  # heartbeats for several times the limit
        gate.open()
        rest = list(blocks)
    assert kinds[0] == b"id: "
    assert rest[-1].startswith(b"event: done")


@pytest.mark.parametrize("log_bytes", [64 * 1024, 8 * 1024 * 1024])
def test_reader_that_stood_still_comes_back_to_every_event(log_bytes: int) -> None:
    """What waits in buffers on the way is lost with the connection, and is still in the log."""
    made, total = Count(), 40_000_000 // 10_000
    app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=log_bytes))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        for number in range(total):
            made.add()
            yield f"{number}:" + "x" * 10_000

    with running(app) as url:
        with Connection(url, receive_buffer_bytes=16_384) as connection:
            connection.post(headers=EVENT_STREAM | PROTOCOL_1)
            _, headers = connection.read_head()
            assert next(connection.events()).event_id == 1
            eventually(Standstill(lambda: made.value), "the producer waits")
            assert made.value < total
            connection.reset()
        path = f"/invocations/{headers['x-ppio-invocation-id']}"
        answer = events(url, path, after=1)
    assert answer.status == 200, answer.body
    assert [event.event_id for event in answer.events] == list(range(2, total + 2))
