"""aiohttp below httpx, chosen with one line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    DefaultAioHttpClient,
    IdleTimeoutError,
    NetworkError,
    TotalTimeoutError,
)
from tests.support.raw_server import (
    LAST_PIECE,
    OK,
    Caller,
    answering,
    closed_port,
    keeping,
    piece,
    raw_server,
    sending,
    stream_head,
)

EVENTS = stream_head() + piece(b"id: 1\ndata: 1\n\n") + piece(b"id: 2\nevent: done\ndata: {}\n\n") + LAST_PIECE
ONE_ATTEMPT = ClientConfig(max_retries=0)

# Where the extra is missing: the name is there, and says what to install when it is used.
WITHOUT = """
import sys
sys.modules["httpx_aiohttp"] = None
from ppio_agent_client import *
try:
    DefaultAioHttpClient()
except ConfigurationError as error:
    print(error)
"""


async def test_calls_and_streams_go_over_aiohttp() -> None:
    with raw_server(answering(OK, EVENTS, OK)) as server:
        async with DefaultAioHttpClient() as http, AgentRuntimeClient(http_client=http) as client:
            session = client.attach(server.url)
            assert (await session.invoke("x")).result == 42
            assert [chunk async for chunk in session.stream("x")] == [1]
            assert (await session.invoke("x")).result == 42
    assert server.connections == 1


async def test_a_call_whose_connection_breaks_is_not_sent_again() -> None:
    with raw_server(sending(then=Caller.reset)) as server:
        config = ClientConfig(retry_delay=0)
        async with DefaultAioHttpClient() as http, AgentRuntimeClient(config=config, http_client=http) as client:
            with pytest.raises(NetworkError) as caught:
                await client.attach(server.url).invoke("x")
    assert not caught.value.retryable
    assert [request.line.split()[0] for request in server.requests].count("POST") == 1


async def test_a_call_that_finds_nobody_was_never_sent() -> None:
    async with DefaultAioHttpClient() as http, AgentRuntimeClient(config=ONE_ATTEMPT, http_client=http) as client:
        with closed_port() as url, pytest.raises(NetworkError) as caught:
            await client.attach(url).invoke("x")
    assert caught.value.retryable


async def test_the_limits_of_a_call_hold() -> None:
    begun = stream_head(numbered=False) + piece(b"data: 1\n\n")
    config = ClientConfig(idle_timeout=0.2, max_retries=0)
    with raw_server(sending(begun)) as server:
        async with DefaultAioHttpClient() as http, AgentRuntimeClient(config=config, http_client=http) as client:
            async with client.attach(server.url).stream("x") as stream:
                assert await anext(stream) == 1
                with pytest.raises(IdleTimeoutError):
                    await anext(stream)
            with pytest.raises(TotalTimeoutError):
                await client.with_options(timeout=0.2).attach(server.url).invoke("x")


async def test_this_machine_needs_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.invalid:1")
    with raw_server(keeping) as server:
        async with DefaultAioHttpClient() as http, AgentRuntimeClient(http_client=http) as client:
            assert (await client.attach(server.url).invoke("x")).result == 42


@pytest.mark.slow
def test_without_the_extra_the_line_to_install_it_is_said() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    assert "pip install 'ppio-agent-client[aiohttp]'" in done.stdout
