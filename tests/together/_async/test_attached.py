"""The client and the runtime on one machine, without a sandbox between them."""

from __future__ import annotations

from typing import Any

import pytest

from ppio_agent_client import AgentRuntimeClient, PayloadValidationError, PingStatus
from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.payloads import VALUES

pytestmark = pytest.mark.contract


def echo_app() -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def echo(payload: Any, context: RequestContext) -> Any:
        return payload

    return app


@pytest.mark.parametrize("value", VALUES)
async def test_values_come_back_as_they_went(value: object) -> None:
    with running(echo_app()) as url:
        async with AgentRuntimeClient() as client:
            assert (await client.attach(url).invoke({"value": value})).result == {"value": value}
            assert [chunk async for chunk in client.attach(url).stream({"value": value})] == [{"value": value}]


async def test_a_payload_that_does_not_fit_is_told_by_field() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def count(payload: dict[str, int]) -> int:
        return sum(payload.values())

    with running(app) as url:
        async with AgentRuntimeClient() as client:
            with pytest.raises(PayloadValidationError, match="apples") as caught:
                await client.attach(url).invoke({"apples": "many"})
    assert caught.value.status_code == 422


async def test_an_agent_at_work_is_busy_and_ready() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def stream(payload: dict[str, Any]) -> Any:
        yield 1
        yield 2

    @app.ping
    def feel() -> dict[str, Any]:
        return {"status": "HealthyBusy", "dependencies": {"db": "up"}}

    with running(app) as url:
        async with AgentRuntimeClient() as client:
            answer = await client.attach(url).ping()
    assert answer.status is PingStatus.HEALTHY_BUSY
    assert (answer.model_extra or {})["dependencies"] == {"db": "up"}


async def test_a_generator_asked_for_one_value_is_collected() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def stream(payload: dict[str, Any]) -> Any:
        yield "a"
        yield "b"

    with running(app) as url:
        async with AgentRuntimeClient() as client:
            assert (await client.attach(url).invoke("x")).result == "ab"
