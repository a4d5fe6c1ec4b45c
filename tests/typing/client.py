"""What a type checker sees of the client. Checked, never run."""

from __future__ import annotations

import asyncio
from typing import assert_type

from ppio_agent_client import (
    AccessToken,
    AgentRuntimeClient,
    AuthManager,
    InvocationHandle,
    InvocationResponse,
    InvocationState,
    InvocationStream,
    LocalSandboxProvider,
    SandboxProvider,
    SandboxSession,
    SyncAgentRuntimeClient,
    SyncAuthManager,
    SyncInvocationHandle,
    SyncInvocationStream,
    SyncLocalSandboxProvider,
    SyncSandboxProvider,
    SyncSandboxSession,
)

PROVIDER: SandboxProvider = LocalSandboxProvider()
SYNC_PROVIDER: SyncSandboxProvider = SyncLocalSandboxProvider()


async def fetched() -> tuple[str, float]:
    return "token", 2e9


async def credentials() -> None:
    for source in ("key", lambda: "key", lambda: AccessToken("key", None), fetched):
        assert_type(await AuthManager(source).get_auth_headers(), dict[str, str])
    assert_type(await AuthManager("key", "secret").authorize("GET", "http://a", {}), dict[str, str])
    assert_type(await AuthManager(fetched).renew(), bool)
    assert_type(SyncAuthManager("key").get_auth_headers(), dict[str, str])


async def sessions(client: AgentRuntimeClient, stream: bool) -> None:
    async with await client.create_session("a") as session:
        assert_type(session, SandboxSession)
        assert_type(await session.invoke("x"), InvocationResponse)
        assert_type(await session.invoke({"a": 1}, stream=False), InvocationResponse)
        assert_type(await session.invoke("x", stream=True), InvocationStream)
        assert_type(await session.invoke("x", stream=stream), InvocationResponse | InvocationStream)
        task = asyncio.create_task(session.invoke("x"))  # without an overload it has no type
        assert_type(await task, InvocationResponse)
        handle = await session.submit("x", timeout=3)
        assert_type(handle, InvocationHandle)
        assert_type(await handle.status(), InvocationState)
        assert_type(await handle.result(), InvocationResponse)
        assert_type(handle.events(after=3), InvocationStream)
        assert_type(await handle.cancel(), bool)
        assert_type(session.invocation("i"), InvocationHandle)
    assert_type(client.attach("http://a", auth=client.auth_manager), SandboxSession)
    assert_type(client.attach("http://a").with_options(timeout=None), SandboxSession)
    assert_type(client.with_options(timeout=3, max_retries=0), AgentRuntimeClient)
    assert_type(await client.get_session("a"), SandboxSession | None)
    assert_type(client.stream_agent("a", "x"), InvocationStream)
    assert_type(await client.close_session("a"), bool)


def blocking_sessions(client: SyncAgentRuntimeClient) -> None:
    with client.create_session("a") as session:
        assert_type(session, SyncSandboxSession)
        assert_type(session.invoke("x"), InvocationResponse)
        assert_type(session.invoke("x", stream=True), SyncInvocationStream)
        assert_type(session.submit("x"), SyncInvocationHandle)
        assert_type(session.submit("x").events(), SyncInvocationStream)
    assert_type(client.with_options(timeout=3), SyncAgentRuntimeClient)
    assert_type(client.invoke_agent("a", "x", idempotency_key="k"), InvocationResponse)
