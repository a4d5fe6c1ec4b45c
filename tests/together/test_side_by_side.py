"""Many at once: each id has one sandbox, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient, LocalSandboxProvider, SandboxCreationError
from tests.support.agents import write_agent, write_code

pytestmark = pytest.mark.contract


@pytest.fixture
async def provider(home: Path) -> LocalSandboxProvider:
    provider = LocalSandboxProvider(home)
    await provider.deploy(write_agent(home.parent / "worker", "worker"))
    await provider.deploy(write_agent(home.parent / "streamer", "streamer"))
    return provider


async def test_twenty_sessions_start_side_by_side(provider: LocalSandboxProvider) -> None:
    async with AgentRuntimeClient(provider=provider) as client:
        sessions = await asyncio.gather(*(client.create_session("worker") for _ in range(20)))
        responses = await asyncio.gather(*(session.invoke("x") for session in sessions))
        assert [response.result for response in responses] == [1] * 20
        assert len({session.sandbox_id for session in sessions}) == 20
        await client.close_all_sessions()
        assert await client.list_sessions() == []


async def test_fifty_requests_for_one_session_make_one_sandbox(provider: LocalSandboxProvider) -> None:
    async with AgentRuntimeClient(provider=provider) as client:
        sessions = await asyncio.gather(*(client.create_session("worker", session_id="one") for _ in range(50)))
        assert len({session.sandbox_id for session in sessions}) == 1
        assert [session.session_id for session in await client.list_sessions()] == ["one"]
        responses = await asyncio.gather(*(session.invoke("x") for session in sessions))
        assert sorted(response.result for response in responses) == list(range(1, 51))


async def test_two_clients_make_one_sandbox_for_one_session(provider: LocalSandboxProvider) -> None:
    async with AgentRuntimeClient(provider=provider) as one, AgentRuntimeClient(provider=provider) as other:
        sessions = await asyncio.gather(
            *(client.create_session("worker", session_id="one") for client in (one, other) for _ in range(5))
        )
        assert len({session.sandbox_id for session in sessions}) == 1


async def test_a_crash_is_told_to_everybody_who_waited(home: Path) -> None:
    provider = LocalSandboxProvider(home)
    await provider.deploy(write_code(home.parent / "broken", "import no_such_thing\n"))
    async with AgentRuntimeClient(provider=provider) as client:
        outcomes = await asyncio.gather(
            *(client.create_session("broken", session_id="one") for _ in range(3)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} == {SandboxCreationError}
        assert await client.list_sessions() == []


async def test_a_cancelled_start_leaves_no_sandbox(provider: LocalSandboxProvider) -> None:
    async with AgentRuntimeClient(provider=provider) as client:
        task = asyncio.create_task(client.create_session("worker"))
        while not await client.list_sessions():
            assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.list_sessions() == []


async def test_a_cancelled_create_leaves_no_sandbox(provider: LocalSandboxProvider) -> None:
    async with AgentRuntimeClient(provider=provider) as client:
        task = asyncio.create_task(client.create_session("worker"))
        await asyncio.sleep(0)  # it has asked the provider, in a thread
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.list_sessions() == []


async def test_nothing_is_left_of_a_client_that_was_closed(provider: LocalSandboxProvider) -> None:
    tasks, threads, sockets = asyncio.all_tasks(), set(threading.enumerate()), open_sockets()
    client = AgentRuntimeClient(provider=provider)
    session = await client.create_session("streamer")
    async with session.stream({}) as stream:
        await anext(stream)
    half_read = await session.invoke({}, stream=True)
    await anext(half_read)
    await asyncio.gather(*(session.ping() for _ in range(5)))
    await client.close()
    await half_read.close()
    assert asyncio.all_tasks() == tasks
    assert set(threading.enumerate()) == threads
    assert open_sockets() == sockets


def open_sockets() -> set[str]:
    """Return the sockets of this process, by the names that the kernel gives them."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("only Linux shows what a process has open")
    names = set()
    for entry in os.listdir(folder):
        try:
            names.add(os.readlink(folder / entry))
        except FileNotFoundError:
            continue  # the listing's own descriptor
    return {name for name in names if name.startswith("socket:")}
