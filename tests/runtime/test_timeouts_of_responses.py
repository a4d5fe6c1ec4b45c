"""Response objects of the agent's own under the limits of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gates import Gate, opening
from tests.support.raw_http import Connection, invoke

pytestmark = pytest.mark.contract

SHORT = 0.05


def test_response_object_over_its_time_is_stopped() -> None:
    from starlette.responses import StreamingResponse

    app, stopped = PPIOAgentRuntimeApp(AgentConfig(timeout=SHORT, stream_timeout=1.0)), Gate("stopped")

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Future()
        finally:
            stopped.open()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> StreamingResponse:
        return StreamingResponse(endless())

    with running(app) as url, Connection(url) as connection:
        connection.post()
        assert connection.read_head()[0] == 200
        assert b"first" in connection.read_to_the_end()
        stopped.wait()


def test_response_object_that_fails_before_its_head_is_a_handler_error_with_its_reason() -> None:
    from starlette.responses import Response

    class Failing(Response):
        async def __call__(self, scope: object, receive: object, send: object) -> None:
            raise ValueError("no such file")

    app = PPIOAgentRuntimeApp(AgentConfig(expose_errors=True))

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> Response:
        return Failing()

    with running(app) as url:
        answer = invoke(url)
    assert (answer.status, answer.json["error"]) == (500, "ValueError: no such file")


def test_background_task_of_a_response_object_is_not_stopped_with_its_caller() -> None:
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse

    app, go_on, ended = PPIOAgentRuntimeApp(), Gate("go on"), Gate("ended")

    async def afterwards() -> None:
        await go_on.passed()
        ended.open()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> PlainTextResponse:
        return PlainTextResponse("done", background=BackgroundTask(afterwards))

    with opening(go_on), running(app) as url:
        assert invoke(url).body == b"done"
        with Connection(url) as other:
            other.post()
            assert other.read_answer().body == b"done"
        go_on.open()
        ended.wait()
