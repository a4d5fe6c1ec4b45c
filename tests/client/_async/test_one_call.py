"""`invoke_agent` and `stream_agent`: one call, with a session of its own or of somebody else."""

from __future__ import annotations

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    InvocationRequest,
    SandboxCreationError,
    SessionNotFoundError,
)
from tests.client._async.clients import shelved
from tests.client._async.shelf import HEALTHY, Shelf, invoked
from tests.support.raw_server import answer, answering

pytestmark = pytest.mark.contract


async def test_a_call_without_a_session_opens_one_and_ends_it() -> None:
    async with shelved() as (_, shelf, client):
        assert (await client.invoke_agent("t-1", InvocationRequest(prompt="x"))).result == 42
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_a_failed_call_ends_its_sandbox_too() -> None:
    async with shelved(answering(HEALTHY, answer(b"{}", "500 x"))) as (_, shelf, client):
        with pytest.raises(Exception, match="500"):
            await client.invoke_agent("t-1", "x")
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_a_call_with_a_session_leaves_it_open() -> None:
    async with shelved() as (_, shelf, client):
        for _ in range(2):
            await client.invoke_agent("t-1", "x", session_id="one")
    assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["running"]


@pytest.mark.parametrize("session_id", [None, "unknown"])
async def test_a_call_that_may_not_make_a_session_needs_one(session_id: str | None) -> None:
    shelf = Shelf()
    async with AgentRuntimeClient(provider=shelf) as client:
        with pytest.raises(SessionNotFoundError):
            await client.invoke_agent("t-1", "x", create_session=False, session_id=session_id)
    assert shelf.sandboxes == {}


async def test_a_call_never_goes_to_another_template() -> None:
    async with shelved() as (server, shelf, client):
        shelf.templates.append("t-2")
        shelf.put("one", "t-2")
        with pytest.raises(SandboxCreationError, match=r"'t-2', not 't-1'"):
            await client.invoke_agent("t-1", "x", create_session=False, session_id="one")
        assert (await client.invoke_agent("t-2", "x", create_session=False, session_id="one")).result == 42
    assert invoked(server) == 1


async def test_a_stream_of_an_agent_ends_its_sandbox() -> None:
    async with shelved() as (_, shelf, client):
        assert [chunk async for chunk in client.stream_agent("t-1", "x")] == [42]
        async with client.stream_agent("t-1", "x"):
            pass
    assert [sandbox.state for sandbox in shelf.sandboxes.values()] == ["ended", "ended"]


async def test_a_stream_of_a_session_leaves_it_open() -> None:
    async with shelved() as (_, shelf, client):
        assert [chunk async for chunk in client.stream_agent("t-1", "x", session_id="one")] == [42]
    assert shelf.sandboxes["b-1"].state == "running"


async def test_a_stream_that_never_starts_leaves_no_sandbox() -> None:
    async with shelved(answering(HEALTHY, answer(b"{}", "500 x"))) as (_, shelf, client):
        with pytest.raises(Exception, match="500"):
            [chunk async for chunk in client.stream_agent("t-1", "x")]
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_whoever_has_heard_the_end_of_a_stream_finds_its_sandbox_ended() -> None:
    async with shelved() as (_, shelf, client):
        shelf.kill_seconds = 0.1
        assert [chunk async for chunk in client.stream_agent("t-1", "x")] == [42]
        assert shelf.sandboxes["b-1"].state == "ended"
        async with client.stream_agent("t-1", "x") as stream:
            async for _ in stream:
                break
        assert shelf.sandboxes["b-2"].state == "ended"
        async with client.stream_agent("t-1", "x") as stream:
            assert [chunk async for chunk in stream] == [42]
        assert shelf.sandboxes["b-3"].state == "ended"
