"""Who ends which sandbox, and when."""

from __future__ import annotations

import pytest

from ppio_agent_client import (
    AgentClientError,
    AgentRuntimeClient,
)
from tests.client._async.clients import shelved
from tests.client._async.shelf import Shelf, agent
from tests.support.raw_server import raw_server

pytestmark = pytest.mark.contract


async def test_close_session_says_whether_one_lived() -> None:
    shelf = Shelf()
    shelf.put("one")
    async with AgentRuntimeClient(provider=shelf) as client:
        assert await client.close_session("one")
        assert not await client.close_session("one")
        assert not await client.close_session("never")


async def test_closing_by_id_closes_the_handle_that_somebody_holds() -> None:
    shelf = Shelf()
    shelf.put("one")
    async with AgentRuntimeClient(provider=shelf) as client:
        session = await client.get_session("one")
        assert session is not None
        await client.close_session("one")
        assert session.is_closed


async def test_close_all_ends_what_this_client_made_and_nothing_else() -> None:
    async with shelved() as (_, shelf, client):
        shelf.put("theirs")
        for _ in range(3):
            await client.create_session("t-1")
        await client.close_all_sessions()
        assert [session.session_id for session in await client.list_sessions()] == ["theirs"]


async def test_a_sandbox_that_could_not_be_ended_is_tried_again() -> None:
    async with shelved() as (_, shelf, client):
        session = await client.create_session("t-1")
        shelf.refuses_to_kill = True
        with pytest.raises(AgentClientError, match=r"1 of 1 sandboxes .* the shelf is locked"):
            await client.close_all_sessions()
        assert not session.is_closed
        shelf.refuses_to_kill = False
        await client.close_all_sessions()
        assert session.is_closed
    assert shelf.sandboxes["b-1"].state == "ended"


async def test_an_answer_is_not_lost_when_its_sandbox_cannot_be_ended(caplog: pytest.LogCaptureFixture) -> None:
    async with shelved() as (_, shelf, client):
        shelf.refuses_to_kill = True
        assert (await client.invoke_agent("t-1", "x")).result == 42
    assert "b-1 could not be ended" in caplog.text


async def test_leaving_the_client_ends_no_sandbox_and_no_provider_that_was_given() -> None:
    async with shelved() as (_, shelf, client):
        await client.create_session("t-1")
    assert shelf.sandboxes["b-1"].state == "running"
    assert not shelf.closed


async def test_leaving_a_session_ends_its_sandbox() -> None:
    with raw_server(agent) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client, await client.create_session("t-1"):
            pass
    assert shelf.sandboxes["b-1"].state == "ended"
