"""Mistakes that type checkers find. Each comment marks one: without the mistake the comment itself is an error."""

from __future__ import annotations

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RateLimit, RequestContext


class NoPlugin:
    def instal(self, app: PPIOAgentRuntimeApp) -> None: ...


def objects(app: PPIOAgentRuntimeApp, config: AgentConfig, context: RequestContext) -> None:
    AgentConfig(timeout="30")  # type: ignore[arg-type]
    AgentConfig(time_out=30)  # type: ignore[call-arg]
    AgentConfig(when_busy="wait")  # type: ignore[arg-type]
    AgentConfig("0.0.0.0")  # type: ignore[call-arg]
    RateLimit("100/60")  # type: ignore[arg-type]
    PPIOAgentRuntimeApp(timeout=30)  # type: ignore[arg-type]
    config.timeout = 3  # type: ignore[misc]
    config.time_out  # type: ignore[attr-defined]
    context.session  # type: ignore[attr-defined]
    app.install(NoPlugin())  # type: ignore[arg-type]
    app.ping("main:health")  # type: ignore[type-var]
    app.entrypont  # type: ignore[attr-defined]


@PPIOAgentRuntimeApp().background_task  # type: ignore[arg-type]
def blocking() -> None: ...


@PPIOAgentRuntimeApp().background_task(max_age=3)  # type: ignore[call-overload, untyped-decorator]
async def counted() -> None: ...
