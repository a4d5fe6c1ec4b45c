"""The client inside an agent: the runtime's event loop is uvloop, whose connections are not asyncio's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig, IdleTimeoutError, NetworkError
from ppio_agent_client._io import tls_context
from tests.support.raw_server import LAST_PIECE, answer, answering, closed_port, piece, raw_server, sending, stream_head
from tests.support.tls_server import tls_server

if sys.platform == "win32":
    pytest.skip("there is no uvloop", allow_module_level=True)
import uvloop

OK = answer(b'{"result":42,"status":"success","duration":0.5}')
EVENTS = stream_head() + piece(b"id: 1\ndata: 1\n\n") + piece(b"id: 2\nevent: done\ndata: {}\n\n") + LAST_PIECE


def run(work: Coroutine[None, None, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


async def use(url: str) -> None:
    async with AgentRuntimeClient() as client:
        session = client.attach(url)
        assert (await session.invoke({"prompt": "x" * 2_000_000})).result == 42
        assert [chunk async for chunk in session.stream("x")] == [1]
        assert (await session.invoke("x")).result == 42


@pytest.mark.contract
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_calls_and_streams_share_a_connection(host: str) -> None:
    with raw_server(answering(OK, EVENTS, OK)) as server:
        run(use(server.url.replace("127.0.0.1", host)))
    assert server.connections == 1


def test_calls_and_streams_go_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(tmp_path / "authority.pem", answering(OK, EVENTS, OK)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        tls_context.cache_clear()
        run(use(server.url))
    tls_context.cache_clear()
    assert server.connections == 1


@pytest.mark.contract
def test_limits_hold_and_connections_are_closed() -> None:
    async def work() -> None:
        config = ClientConfig(idle_timeout=0.1, max_retries=0)
        async with AgentRuntimeClient(config=config) as client:
            with pytest.raises(IdleTimeoutError):
                await client.attach(server.url).invoke("x")
            with closed_port() as nowhere, pytest.raises(NetworkError):
                await client.attach(nowhere).invoke("x")

    with raw_server(sending(OK[:-3])) as server:
        run(work())
        assert server.hung_up.acquire(timeout=60)
