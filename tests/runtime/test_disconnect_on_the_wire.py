"""How callers vanish from a connection: half closed, kept, pipelined, and a thousand at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gated import never_ending
from tests.support.gates import Gate, aside, eventually
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, request, streaming

pytestmark = pytest.mark.contract


def test_half_closed_connection_counts_as_vanished() -> None:
    app, closed = PPIOAgentRuntimeApp(), Gate("closed")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Future()
        finally:
            closed.open()

    with running(app) as url, streaming(url) as connection:
        next(connection.events())
        connection.half_close()
        closed.wait()


def test_second_caller_on_a_kept_connection_can_vanish_too() -> None:
    app, cancelled, begun = PPIOAgentRuntimeApp(), Gate("cancelled"), Gate("begun")

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        if payload.get("wait"):
            begun.open()
            try:
                await asyncio.Future()
            finally:
                cancelled.open()
        return "done"

    with running(app) as url:
        connection = Connection(url)
        connection.post()
        assert connection.read_answer().result == "done"
        connection.post({"wait": True})
        begun.wait()
        connection.close()
        cancelled.wait()


def test_caller_that_vanishes_with_a_pipelined_request_behind_it_is_noticed() -> None:
    app = PPIOAgentRuntimeApp()
    begun, cancelled = never_ending(app)

    with running(app) as url:
        connection = Connection(url)
        connection.send(request() + request())
        begun.wait()
        connection.close()
        cancelled.wait()


@pytest.mark.slow
def test_thousand_callers_that_vanish_at_any_moment_leave_nothing_in_flight() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        for number in range(100):
            yield number
            await asyncio.sleep(0.0001)

    def come_and_go(count: int) -> None:
        for number in range(count):
            with contextlib.suppress(OSError):
                connection = Connection(url)
                connection.post(headers=EVENT_STREAM if number % 2 else PROTOCOL_1)
                connection.socket.settimeout(0.0001 * (number % 30 + 1))
                with contextlib.suppress(TimeoutError, socket.timeout):
                    connection.socket.recv(100)
                connection.reset() if number % 3 else connection.close()

    with running(app) as url:
        for done in [aside(lambda: come_and_go(250)) for _ in range(4)]:
            done.result()
        eventually(lambda: get(url, "/ping").json["status"] == "Healthy", "idle again")
