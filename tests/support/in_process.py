"""Agents that are called in process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp


def app_with(handler: Any, **settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))
    app.entrypoint(handler)
    return app


async def until_idle(app: PPIOAgentRuntimeApp) -> None:
    while app._rooms.invocations._runs:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0)


class Numbers:
    """An endless async generator that says how it ended."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def __call__(self, request: dict[str, Any]) -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
                await asyncio.sleep(0)
        finally:
            self.closed.set()
