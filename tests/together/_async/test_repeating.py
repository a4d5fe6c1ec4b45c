"""An agent that charges a card, and the end of its process meanwhile: it charges once, and the error says it may have.

There are two processes behind one address, or one that is started again on its port; they share no store.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    DrainingError,
    InvocationHandle,
    NetworkError,
    NotFoundError,
    OtherInstanceError,
    PPIOAgentRuntimeError,
    SandboxSession,
)
from tests.support.balancer import balancing
from tests.support.replicas import CHARGING, Replica, replicas

pytestmark = pytest.mark.contract


@asynccontextmanager
async def served(folder: Path, place: str) -> AsyncIterator[tuple[list[Replica], SandboxSession]]:
    """Give an agent that comes back, has a replica, or is alone, and a session with it."""
    settings = ClientConfig(max_retries=2 if place == "alone" else 200, retry_delay=0.05, retry_budget=None)
    with (
        replicas(
            2 if place == "replica" else 1,
            folder,
            CHARGING,
            restart=place == "restart",
            PPIO_AGENT_SHUTDOWN_GRACE_SECONDS="0.1",
        ) as made,
        balancing([replica.port for replica in made]) as balancer,
    ):
        url = balancer.url if place == "replica" else f"http://127.0.0.1:{made[0].port}"
        async with AgentRuntimeClient(config=settings) as client:
            yield made, client.attach(url)


async def ask(session: SandboxSession, verb: str, prompt: str) -> Any:
    """Ask the agent and return what it says."""
    if verb == "invoke":
        return (await session.invoke(prompt)).result
    if verb == "stream":
        return [chunk async for chunk in session.stream(prompt)]
    return (await (await session.submit(prompt)).result()).result


async def look(handle: InvocationHandle, verb: str) -> Any:
    """Look at what was handed in."""
    if verb == "events":
        return [chunk async for chunk in handle.events()]
    return await getattr(handle, verb)()


async def greeted(session: SandboxSession) -> Any:
    """Return what the agent says to a greeting, once nothing of the process that ended is in the way."""
    while True:
        try:
            return (await session.invoke("hello")).result
        except PPIOAgentRuntimeError:
            continue


def expected(verb: str, signal: str, link: str) -> tuple[type[Exception], ...]:
    """Return what the end of the process is told as."""
    if signal == "SIGTERM":
        # Whoever handed work in may ask for it when the process that knew it is gone.
        return (DrainingError, NotFoundError, NetworkError) if verb == "submit" else (DrainingError,)
    lost = OtherInstanceError if link == "known" else NetworkError
    return (lost, NotFoundError, NetworkError) if verb == "submit" else (lost,)


@pytest.mark.parametrize("link", ["new", "known"])
@pytest.mark.parametrize("place", ["replica", "restart"])
@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("verb", ["invoke", "stream", "submit"])
@pytest.mark.slow
async def test_an_agent_whose_process_ends_never_runs_twice(
    verb: str, signal: str, place: str, link: str, tmp_path: Path
) -> None:
    async with served(tmp_path, place) as (_, session):
        if link == "known":
            await session.ping()
        with pytest.raises(expected(verb, signal, link)) as caught:
            await ask(session, verb, signal)
        assert isinstance(caught.value, PPIOAgentRuntimeError)
        assert (caught.value.retryable, caught.value.retry_after) == (False, None)
        assert await greeted(session) == "hello"
    assert (tmp_path / "charges").read_text() == "charged\n"


@pytest.mark.parametrize("link", ["new", "known"])
@pytest.mark.parametrize("verb", ["invoke", "stream"])
async def test_a_lost_call_is_told_as_lost_though_its_repeats_find_nobody(verb: str, link: str, tmp_path: Path) -> None:
    async with served(tmp_path, "alone") as ((agent,), session):
        if link == "known":
            await session.ping()
        with pytest.raises(NetworkError, match="lost") as caught:
            await ask(session, verb, "SIGKILL")
        assert not caught.value.retryable
        agent.process.wait()
        with pytest.raises(NetworkError, match="not sent") as caught:
            await ask(session, verb, "hello")
        assert caught.value.retryable
    assert (tmp_path / "charges").read_text() == "charged\n"


@pytest.mark.parametrize("verb", ["status", "result", "cancel", "events"])
async def test_a_look_that_was_never_sent_says_that_the_agent_may_have_run(verb: str, tmp_path: Path) -> None:
    async with served(tmp_path, "alone") as ((agent,), session):
        assert await greeted(session) == "hello"
        handle = session.invocation("of-a-process-that-is-gone")
        agent.process.kill()
        agent.process.wait()
        with pytest.raises(NetworkError, match="not sent") as caught:
            await look(handle, verb)
    assert not caught.value.retryable
