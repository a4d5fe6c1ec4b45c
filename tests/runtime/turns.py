"""An agent whose invocations begin and end when a test says so, for tests of concurrency."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from tests.runtime.wire import WAIT_SECONDS, metric

on_both_loops = pytest.mark.parametrize("isolated", [False, True], ids=["one loop", "second loop"])
each_kind = pytest.mark.parametrize("kind", ["coroutine", "function"])


class Turns:
    """An agent whose invocations begin and end when the test says so."""

    def __init__(self, **config: Any) -> None:
        self.app = PPIOAgentRuntimeApp(AgentConfig(**config))
        self.began: list[str] = []
        self.ended: list[str] = []
        self.gates: dict[str, threading.Event] = {}

    def wait(self, url: str, count: int) -> bool:
        """Whether one has begun and so many wait for a place."""
        return bool(self.began) and metric(url, "ppio_agent_invocations_queued") == count

    def open(self, *names: str) -> None:
        for name in names:
            self.gates.setdefault(name, threading.Event()).set()

    async def coroutine(self, payload: dict[str, Any]) -> str:
        name = payload["name"]
        self.began.append(name)
        gate = self.gates.setdefault(name, threading.Event())
        try:
            while not gate.is_set():  # noqa: ASYNC110  # opened from another thread
                await asyncio.sleep(0.001)
            return str(name)
        finally:
            self.ended.append(name)

    def function(self, payload: dict[str, Any]) -> str:
        name = payload["name"]
        self.began.append(name)
        self.gates.setdefault(name, threading.Event()).wait(WAIT_SECONDS)
        self.ended.append(name)
        return str(name)

    async def stream(self, payload: dict[str, Any]) -> AsyncIterator[str]:
        yield "first"
        yield await self.coroutine(payload)

    def sync_stream(self, payload: dict[str, Any]) -> Iterator[str]:
        yield "first"
        yield self.function(payload)
