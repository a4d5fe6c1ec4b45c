"""A session that is kept alive while its block is open, and nothing of that behind it."""

from __future__ import annotations

import threading

import pytest

from ppio_agent_client import AgentRuntimeClient, Sandbox, SandboxGoneError, SandboxPausedError
from ppio_agent_client._io import _async as io
from tests.client._async.clients import shelved
from tests.support.raw_server import answer, answering, raw_server

from .shelf import Shelf

HEALTHY = answering(answer(b'{"status":"Healthy"}'))


def extensions(shelf: Shelf) -> int:
    return sum(call.startswith("extend") for call in shelf.calls)


async def until_extended(shelf: Shelf, times: int) -> None:
    while extensions(shelf) < times:
        await io.sleep(0.01)


async def test_a_life_is_extended_while_the_block_is_open_and_not_after() -> None:
    with raw_server(HEALTHY) as server:
        shelf = Shelf(server.url)
        threads = threading.active_count()
        async with AgentRuntimeClient(provider=shelf) as client:
            session = await client.create_session("t-1", 0.1, keep_alive=True)
            assert extensions(shelf) == 0
            async with session:
                await until_extended(shelf, 3)
            extended = extensions(shelf)
            assert threading.active_count() <= threads + 1  # the server's own
            assert shelf.calls[-1] == "kill b-1"
            await io.sleep(0.2)  # two lives
            assert extensions(shelf) == extended


async def test_the_settings_can_ask_for_it_and_a_joined_life_is_extended_at_once() -> None:
    async with shelved(HEALTHY, keep_alive=True) as (_, shelf, client):
        shelf.put("theirs")
        session = await client.get_session("theirs")
        assert session is not None
        async with session:
            await until_extended(shelf, 1)


async def test_a_life_is_left_alone_unless_somebody_asks() -> None:
    with raw_server(HEALTHY) as server:
        shelf = Shelf(server.url)
        async with AgentRuntimeClient(provider=shelf) as client, await client.create_session("t-1", 0.02):
            await io.sleep(0.1)
        assert extensions(shelf) == 0


async def test_closing_the_client_ends_it_too() -> None:
    async with shelved(HEALTHY) as (_, shelf, client):
        session = await client.create_session("t-1", 0.1, keep_alive=True)
        await session.__aenter__()
        await until_extended(shelf, 1)
    extended = extensions(shelf)
    await io.sleep(0.2)  # two lives
    assert extensions(shelf) == extended


class Troubled(Shelf):
    """Refuses to extend, in one way after another."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.troubles: list[Exception] = [SandboxPausedError("asleep"), SandboxGoneError("gone")]

    async def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        await super().extend(sandbox_id, timeout_seconds)
        raise self.troubles.pop(0)


async def test_a_sandbox_that_sleeps_or_has_ended_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with raw_server(HEALTHY) as server:
        shelf = Troubled(server.url)
        async with (
            AgentRuntimeClient(provider=shelf) as client,
            await client.create_session("t-1", 0.1, keep_alive=True),
        ):
            await until_extended(shelf, 2)
    assert caplog.records == []
