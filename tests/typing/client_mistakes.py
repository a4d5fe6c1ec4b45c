"""Mistakes that type checkers find. Each comment marks one: without the mistake the comment itself is an error."""

from __future__ import annotations

import ppio_agent_client
from ppio_agent_client import AgentRuntimeClient, ClientConfig, SandboxSession, SyncSandboxSession
from ppio_agent_models import AgentError, InvocationRequest, TextMessageContentEvent

from .results import Answer


async def calls(session: SandboxSession) -> str:
    await session.invoke("x", stream=3)  # type: ignore[call-overload]
    await session.invoke("x", idempotency="k")  # type: ignore[call-overload]
    await session.invoke("x", result_type="Answer")  # type: ignore[call-overload]
    session.stream("x", chunks=Answer)  # type: ignore[call-overload]
    (await session.invoke("x", result_type=Answer)).result.txt  # type: ignore[attr-defined]
    session.invoke("x").result  # type: ignore[attr-defined]
    with session:  # type: ignore[attr-defined]
        pass
    for chunk in session.stream("x", chunk_type=Answer):  # type: ignore[attr-defined]
        del chunk
    async for chunk in session.stream("x", chunk_type=Answer):
        chunk.txt  # type: ignore[attr-defined]
    return (await session.invoke("x", result_type=Answer)).result  # type: ignore[return-value]


async def blocking(session: SyncSandboxSession) -> None:
    await session.invoke("x", result_type=Answer)  # type: ignore[misc]


def objects(client: AgentRuntimeClient) -> None:
    ppio_agent_client.AgentRuntimeCleint()  # type: ignore[attr-defined]
    InvocationRequest(query="x", timeout="3")  # type: ignore[arg-type]
    InvocationRequest("x")  # type: ignore[call-arg]
    TextMessageContentEvent(delta=3)  # type: ignore[arg-type]
    ClientConfig(timeout="3")  # type: ignore[arg-type]
    AgentRuntimeClient(apikey="k")  # type: ignore[call-arg]
    client.attach("http://a", session="s")  # type: ignore[call-arg]
    AgentError("x", status=400)  # type: ignore[call-arg]
    AgentError("x").status  # type: ignore[attr-defined]
