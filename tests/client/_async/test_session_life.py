"""A session while it lives: its time, its pauses, and what is told once its sandbox is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    NetworkError,
    SandboxGoneError,
    SandboxPausedError,
    SandboxSession,
)
from tests.client._async.clients import shelved
from tests.client._async.shelf import BORN, Shelf, invoked
from tests.support.raw_server import closed_port

pytestmark = pytest.mark.contract

QUICK = ClientConfig(retry_delay=0)


@asynccontextmanager
async def out_of_reach(config: ClientConfig) -> AsyncIterator[tuple[Shelf, SandboxSession]]:
    """Give a shelf with one sandbox, where nobody answers, and the session of that."""
    with closed_port() as url:
        shelf = Shelf(url)
        shelf.put("one")
        async with AgentRuntimeClient(provider=shelf, config=config) as client:
            session = await client.get_session("one")
            assert session is not None
            yield shelf, session


async def test_a_refresh_lasts_as_long_as_the_sandbox_was_made_for() -> None:
    async with shelved() as (_, shelf, client):
        session = await client.create_session("t-1", 450, session_id="one")
        await session.refresh()
        assert session.expires_at == BORN + timedelta(seconds=450)
        await session.refresh(77)
        assert session.expires_at == BORN + timedelta(seconds=77)
    assert [call for call in shelf.calls if call.startswith("extend")] == ["extend 450", "extend 77"]


async def test_a_refresh_by_somebody_else_does_not_shorten_a_life() -> None:
    shelf = Shelf()
    shelf.put("one")
    async with AgentRuntimeClient(provider=shelf) as client:
        session = await client.get_session("one")
        assert session is not None
        await session.refresh()
    assert "extend 600" in shelf.calls


async def test_a_paused_session_says_so_without_being_called() -> None:
    async with shelved() as (server, _, client):
        session = await client.create_session("t-1")
        await session.pause()
        assert not session.is_active
        with pytest.raises(SandboxPausedError, match=r"resume\(\)"):
            await session.invoke("x")
        with pytest.raises(SandboxPausedError):
            await session.invoke("x", stream=True)
        assert invoked(server) == 0
        await session.resume()
        assert (await session.invoke("x")).result == 42


async def test_a_session_that_somebody_else_woke_is_invoked() -> None:
    async with shelved() as (_, shelf, client):
        session = await client.create_session("t-1")
        await session.pause()
        shelf.change("b-1", state="running")
        assert (await session.invoke("x")).result == 42


async def test_a_sandbox_that_ended_is_told_instead_of_what_the_network_saw() -> None:
    async with out_of_reach(QUICK) as (shelf, session):
        shelf.change("b-1", state="ended", exit_code=1, output="out of memory")
        with pytest.raises(SandboxGoneError, match="out of memory") as caught:
            await session.invoke("x")
        assert isinstance(caught.value.__cause__, NetworkError)
        with pytest.raises(SandboxGoneError):
            await session.invoke("x", stream=True)


async def test_a_sandbox_that_was_paused_meanwhile_is_told_so() -> None:
    async with out_of_reach(QUICK) as (shelf, session):
        shelf.change("b-1", state="paused")
        with pytest.raises(SandboxPausedError):
            await session.invoke("x")


async def test_a_network_error_with_a_living_sandbox_stays_one() -> None:
    async with out_of_reach(ClientConfig(max_retries=0)) as (_, session):
        with pytest.raises(NetworkError):
            await session.invoke("x")
