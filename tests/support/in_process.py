"""Agents that are called in process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp


def app_with(handler: Any, **settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))
    app.entrypoint(handler)
    return app


async def ping_status(app: PPIOAgentRuntimeApp) -> str:
    """Ask an app that nobody serves how it is, as any ASGI server would."""
    body = bytearray()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        body.extend(message.get("body", b""))

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "path": "/ping"}
    await app({**scope, "raw_path": b"/ping", "query_string": b"", "root_path": "", "headers": []}, receive, send)
    return str(json.loads(body)["status"])


async def until_idle(app: PPIOAgentRuntimeApp) -> None:
    while await ping_status(app) != "Healthy":  # noqa: ASYNC110  # there is no event for it
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
