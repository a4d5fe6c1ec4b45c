"""Many at once: callers of one session, sandboxes in a list, sessions of one client, invocations under way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig, SandboxSession, SyncAgentRuntimeClient
from tests.support.platform import Platform, light_agent
from tests.support.platform_agent import settings

T = TypeVar("T")

SESSIONS = 300
AT_ONCE = 64


@pytest.fixture
def config(platform: Platform, url: str) -> ClientConfig:
    platform.add_template("t-1", agent=light_agent)
    return settings(url)


async def each(count: int, work: Callable[[int], Awaitable[T]]) -> list[T]:
    """Do the same many times, `AT_ONCE` of them side by side."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> T:
        async with places:
            return await work(number)

    return await asyncio.gather(*map(one, range(count)))


async def test_fifty_tasks_that_want_one_session_get_one_sandbox(platform: Platform, config: ClientConfig) -> None:
    async with AgentRuntimeClient(config=config) as client:
        sessions = await asyncio.gather(*[client.create_session("t-1", session_id="the one") for _ in range(50)])

    assert len({session.sandbox_id for session in sessions}) == 1
    assert (len(platform.sandboxes), platform.sandboxes.made) == (1, 1)


def test_fifty_threads_that_want_one_session_get_one_sandbox(platform: Platform, config: ClientConfig) -> None:
    with SyncAgentRuntimeClient(config=config) as client, ThreadPoolExecutor(50) as threads:
        found = list(threads.map(lambda _: client.create_session("t-1", session_id="the one").sandbox_id, range(50)))

    assert len(set(found)) == 1
    assert (len(platform.sandboxes), platform.sandboxes.made) == (1, 1)


@pytest.mark.slow
async def test_hundreds_of_sessions_of_one_client_are_listed_asked_and_closed(
    platform: Platform, config: ClientConfig
) -> None:
    async with AgentRuntimeClient(config=config) as client:
        sessions = await each(SESSIONS, lambda number: client.create_session("t-1", metadata={"n": str(number)}))

        def asked(number: int) -> Awaitable[Any]:
            return sessions[number].invoke({"n": number})

        answers = await each(SESSIONS, asked)
        pages = len(platform.log.of("list"))
        listed = await client.list_sessions()
        pages = len(platform.log.of("list")) - pages

        assert [answer.result["payload"] for answer in answers] == [{"n": number} for number in range(SESSIONS)]
        assert [answer.result["sandbox_id"] for answer in answers] == ids(sessions)
        assert set(ids(listed)) == set(ids(sessions))
        assert len(listed) == SESSIONS
        assert pages == SESSIONS // 100
        async with AgentRuntimeClient(config=config) as other:  # it has nothing but what the platform says
            born = [each.created_at for each in await other.list_sessions()]
        assert (len(born), born) == (SESSIONS, sorted(born))

        await each(SESSIONS, lambda number: sessions[number].close())
        assert await client.list_sessions() == []

    assert len(platform.sandboxes) == 0


def ids(sessions: Iterable[SandboxSession]) -> list[str | None]:
    return [session.sandbox_id for session in sessions]
