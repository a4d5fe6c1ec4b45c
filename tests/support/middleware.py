"""An agent inside of function middleware."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running

CallNext = Callable[[Request], Awaitable[Any]]
Middleware = Callable[[Request, CallNext], Awaitable[Any]]


def make_app(*middlewares: Middleware, **settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))

    @app.entrypoint
    async def handler(payload: Any) -> Any:
        if payload == {"fail": True}:
            raise ValueError("a secret")
        return payload

    for middleware in middlewares:
        app.middleware(middleware)
    return app


@contextmanager
def serving(*middlewares: Middleware, **settings: Any) -> Iterator[str]:
    with running(make_app(*middlewares, **settings)) as url:
        yield url


async def breaks(request: Request, call_next: CallNext) -> Any:
    raise ValueError("a secret")
