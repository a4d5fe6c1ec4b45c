"""ASGI middleware: what it receives, and what becomes of a lifespan that it does not pass on."""

from __future__ import annotations

import inspect
import logging
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.raw_http import get, invoke


def agent(layer: Any = None) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda payload: "here")
    if layer is not None:
        app.add_middleware(layer)
    return app


def knows_no_lifespan(inside: Any) -> Any:
    async def layer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await inside(scope, receive, send)

    return layer


def failing(error: BaseException) -> Any:
    def around(inside: Any) -> Any:
        async def layer(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                raise error
            await inside(scope, receive, send)

        return layer

    return around


def refuses_to_start(inside: Any) -> Any:
    async def layer(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the disk is full"})

    return layer


def dies_at_the_shutdown(inside: Any) -> Any:
    async def layer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await inside(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise LookupError("too late")

    return layer


def test_layer_that_knows_nothing_of_lifespans_is_ready_at_once() -> None:
    with running(agent(knows_no_lifespan)) as url:
        assert invoke(url).result == "here"


@pytest.mark.parametrize("layer", [failing(LookupError("no table")), failing(SystemExit(0)), refuses_to_start])
def test_layer_that_fails_keeps_the_app_from_starting(layer: Any) -> None:
    with pytest.raises(RuntimeError, match="lifespan failed"), running(agent(layer)):
        pass


def test_reason_that_a_layer_gives_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="lifespan failed"), running(agent(refuses_to_start)):
        pass
    assert "the disk is full" in caplog.text


def test_layer_that_fails_at_the_shutdown_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "uvicorn.error")
    with running(agent(dies_at_the_shutdown)) as url:
        assert invoke(url).result == "here"
    assert "too late" in caplog.text


def test_every_answer_has_the_date() -> None:
    with running(agent()) as url:
        date = get(url, "/ping").headers["date"]
    assert format_datetime(parsedate_to_datetime(date), usegmt=True) == date


@pytest.mark.parametrize(
    "config", [{}, {"isolate_handlers": True}, {"api_keys": ["key-of-16-letters"]}, {"cors_origins": []}], ids=str
)
def test_every_app_that_middleware_receives_is_a_coroutine_function(config: dict[str, Any]) -> None:
    received: list[Any] = []

    def taking_note(inside: Any) -> Any:
        received.append(inside)
        return inside

    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    app = PPIOAgentRuntimeApp(AgentConfig(**config))
    app.add_middleware(taking_note)
    app.middleware(pass_on)
    app.add_middleware(taking_note)
    received += [app.stack, app]
    # OpenTelemetry, Sentry and asgiref tell ASGI 3 from what came before it by this.
    assert [inspect.iscoroutinefunction(each.__call__) for each in received] == [True] * 4
