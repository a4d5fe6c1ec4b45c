"""Agents that wait: at a gate in the middle of their answer, or until they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

from .gates import Gate


def app_of(kind: str, gate: Gate, config: AgentConfig | None = None) -> PPIOAgentRuntimeApp:
    """An agent that says 'a', waits at the gate, says 'b'; as a value it is 'ab'."""
    app = PPIOAgentRuntimeApp(config)
    if kind == "async":

        @app.entrypoint
        async def value(payload: dict[str, Any]) -> str:
            await gate.passed()
            return "ab"

    elif kind == "sync":

        @app.entrypoint
        def value_in_a_thread(payload: dict[str, Any]) -> str:
            gate.wait()
            return "ab"

    elif kind == "async generator":

        @app.entrypoint
        async def stream(payload: dict[str, Any]) -> AsyncIterator[str]:
            yield "a"
            await gate.passed()
            yield "b"

    else:

        @app.entrypoint
        def stream_in_a_thread(payload: dict[str, Any]) -> Iterator[str]:
            yield "a"
            gate.wait()
            yield "b"

    return app


def never_ending(app: PPIOAgentRuntimeApp) -> tuple[Gate, Gate]:
    """Give the app a handler that never answers; return the gates that open once it runs and once it is cancelled."""
    begun, cancelled = Gate("begun"), Gate("cancelled")

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> None:
        begun.open()
        try:
            await asyncio.Future()
        except asyncio.CancelledError:
            cancelled.open()
            raise

    return begun, cancelled
