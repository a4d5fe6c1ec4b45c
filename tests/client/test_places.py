"""One client at several places: event loops side by side, and processes that were forked with its connections."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from ppio_agent_client import (
    AgentClientError,
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    SyncAgentRuntimeClient,
)
from ppio_agent_client._io import tls_context
from tests.support.raw_server import Caller, keeping, raw_server
from tests.support.tls_server import tls_server

FORKS = """
import os, sys, warnings
from ppio_agent_client import SyncAgentRuntimeClient

warnings.simplefilter("error")
with SyncAgentRuntimeClient() as client:
    session = client.attach(sys.argv[1])
    session.invoke("parent")
    child = os.fork()
    if child == 0:
        client.close() if sys.argv[2] == "closes" else session.invoke("child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    session.invoke("parent")
"""


@pytest.mark.contract
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(("what", "connections"), [("calls", 2), ("closes", 1)])
@pytest.mark.slow
def test_a_forked_process_leaves_the_connections_of_its_parent_alone(what: str, connections: int) -> None:
    with raw_server(keeping) as server:
        subprocess.run([sys.executable, "-c", FORKS, server.url, what], check=True, timeout=60)
    assert len(server.requests) == connections + 1
    assert server.connections == connections


@pytest.mark.contract
def test_event_loops_side_by_side_have_connections_of_their_own() -> None:
    meeting = threading.Barrier(2)

    async def calls(client: AgentRuntimeClient, url: str) -> int:
        session = client.attach(url)
        results = [(await session.invoke("x")).result]
        await asyncio.to_thread(meeting.wait, 60)
        results += [(await session.invoke("x")).result for _ in range(50)]
        await asyncio.to_thread(meeting.wait, 60)
        await client.close()
        await asyncio.to_thread(meeting.wait, 60)  # a loop that has ended could not close what the other tells it to
        return sum(results)

    with raw_server(keeping) as server, ThreadPoolExecutor() as threads:
        client = AgentRuntimeClient()
        work = [threads.submit(lambda: asyncio.run(calls(client, server.url))) for _ in range(2)]
        assert [each.result() for each in work] == [51 * 42] * 2
    assert server.connections == 2


def test_a_thread_that_reads_over_tls_is_told_when_another_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(caller: Caller) -> None:
        caller.read_request()
        server.closed.release()
        caller.wait_until_gone()

    with tls_server(tmp_path / "authority.pem", silent) as server, ThreadPoolExecutor() as threads:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        tls_context.cache_clear()
        client = SyncAgentRuntimeClient(config=ClientConfig(max_retries=0))
        call = threads.submit(client.attach(server.url).invoke, "x")
        assert server.closed.acquire(timeout=60)
        tls_context.cache_clear()
        client.close()
        with pytest.raises(AgentClientError, match="closed"):
            call.result(60)


@pytest.mark.parametrize(
    ("kind", "wrong"), [(AgentRuntimeClient, httpx.Client), (SyncAgentRuntimeClient, httpx.AsyncClient)]
)
def test_an_http_client_of_the_other_kind_is_refused(kind: type, wrong: type) -> None:
    with pytest.raises(ConfigurationError, match="http_client must be an"):
        kind(http_client=wrong())


def _entered(client: AgentRuntimeClient) -> Coroutine[Any, Any, object]:
    return client.__aenter__()


def _asked(client: AgentRuntimeClient) -> Coroutine[Any, Any, object]:
    return client.attach("http://127.0.0.1:9").invoke("x")


async def _read(client: AgentRuntimeClient) -> object:
    return [chunk async for chunk in client.attach("http://127.0.0.1:9").stream("x")]


def _closed(client: AgentRuntimeClient) -> Coroutine[Any, Any, object]:
    return client.close()


@pytest.mark.parametrize("use", [_entered, _asked, _read, _closed])
def test_under_trio_it_is_said_what_to_do(use: Callable[[AgentRuntimeClient], Coroutine[Any, Any, object]]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"event loop of asyncio.* SyncAgentRuntimeClient .*trio\.to_thread\.run_sync"
    ):
        trio.run(use, AgentRuntimeClient())


def test_under_trio_the_blocking_client_works_in_a_thread() -> None:
    def ask(url: str) -> object:
        with SyncAgentRuntimeClient() as client:
            return client.attach(url).invoke("x").result

    with raw_server(keeping) as server:
        assert trio.run(trio.to_thread.run_sync, ask, server.url) == 42


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda client, _: client.__enter__(), "AgentRuntimeClient is async: use 'async with', or SyncAgentRuntimeCl"),
        (lambda _, session: session.__enter__(), "SandboxSession is async: use 'async with', or SyncSandboxSession"),
        (lambda _, session: session.stream("x").__enter__(), "InvocationStream is async: use 'async with', or Sync"),
        (lambda _, session: list(session.stream("x")), "InvocationStream is async: use 'async for' and 'await', or"),
        (lambda _, session: list(session.events("x")), "AgentEventStream is async: use 'async for' and 'await', or"),
        (lambda _, session: list(session.stream("x").events()), "is async: use 'async for' and 'await', or the Sync"),
    ],
)
def test_what_is_async_and_used_in_a_plain_function_says_so(use: Callable[..., object], told: str) -> None:
    client = AgentRuntimeClient()
    with pytest.raises(TypeError) as caught:
        use(client, client.attach("http://127.0.0.1:9"))
    assert told in str(caught.value)
