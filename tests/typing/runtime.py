"""What a type checker sees of the runtime: handlers of every shape, settings, plugins. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Literal, assert_type

from pydantic import BaseModel

from ppio_agent_models import AgentInput, PingStatus, TextMessageContentEvent
from ppio_agent_runtime import (
    AgentConfig,
    AgentError,
    InvocationHandle,
    InvocationStream,
    MetricsCollector,
    PPIOAgentRuntimeApp,
    RateLimit,
    RequestContext,
)

app = PPIOAgentRuntimeApp(AgentConfig(timeout=30, api_keys=["k"], when_busy="queue"), debug=True)


class Ask(BaseModel):
    text: str


@app.entrypoint
def plain(payload: dict[str, Any]) -> str:
    return str(payload)


@app.entrypoint
def nothing() -> str:
    return ""


@app.entrypoint
async def with_context(ask: Ask, context: RequestContext) -> Ask:
    assert_type(context.session_id, str | None)
    assert_type(context.request_id, str)
    assert_type(context.metadata, dict[str, Any])
    assert_type(context.cancelled, bool)
    return ask


@app.entrypoint
def generator(payload: dict[str, Any]) -> Iterator[str]:
    yield "a"


@app.entrypoint
async def asynchronous_generator(payload: AgentInput, ctx: RequestContext) -> AsyncIterator[TextMessageContentEvent]:
    yield TextMessageContentEvent(delta=payload.prompt or "")


async def decorated() -> None:
    """A handler is what it was: it can be called and tested like any function."""
    assert_type(plain({}), str)
    assert_type(nothing(), str)
    assert_type(generator({}), Iterator[str])
    assert_type(await with_context(Ask(text=""), RequestContext()), Ask)
    assert_type(asynchronous_generator(AgentInput(), RequestContext()), AsyncIterator[TextMessageContentEvent])
    assert_type(healthy(), PingStatus)
    background: Callable[[int], Coroutine[Any, Any, str]] = counted
    assert_type(await background(3), str)


@app.ping
def healthy() -> PingStatus:
    return PingStatus.HEALTHY


@app.background_task(max_age_seconds=60)
async def counted(number: int) -> str:
    async with app.busy("counting"):
        return str(number)


@app.on_lifespan
async def lifespan(_app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
    yield


class Mirror:
    """A plugin."""

    def install(self, app: PPIOAgentRuntimeApp) -> None:
        app.open_path("/mirror")


async def from_inside() -> None:
    app.install(Mirror())
    assert_type(await app.invoke({}), Any)
    assert_type(await app.invoke({}, stream=True), InvocationStream)
    assert_type(app.context, RequestContext | None)
    assert_type(app.metrics, MetricsCollector)
    assert_type(await app.submit({}, key="k"), InvocationHandle)
    raise AgentError("No such order.", status_code=404, error_type="OrderNotFound")


def settings(config: AgentConfig) -> None:
    assert_type(config.timeout, float)
    assert_type(config.api_keys, list[str] | None)
    assert_type(config.when_busy, Literal["reject", "queue", "interrupt"])
    assert_type(config.rate_limit, RateLimit | None)
    assert_type(config.replace(port=0), AgentConfig)
    assert_type(RateLimit(100, 60).max_requests, int)
