"""What becomes of connections: kept, counted, left, refused; over TLS, proxies and foreign transports too."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    ConnectTimeoutError,
    NetworkError,
)
from ppio_agent_client._async import transport
from ppio_agent_client._io import _async as io
from ppio_agent_client._io import tls_context
from tests.client._async.clients import attached
from tests.support.raw_server import (
    LAST_PIECE,
    OK,
    Caller,
    answer,
    answering,
    keeping,
    piece,
    raw_server,
    sending,
    stream_head,
)
from tests.support.tls_server import tls_server


@pytest.mark.contract
async def test_a_call_waits_for_a_connection_no_longer_than_for_one_to_be_made() -> None:
    async with (
        attached(sending(stream_head()), max_connections=1, connect_timeout=1, max_retries=0) as (server, session),
        session.stream("x"),
    ):
        with pytest.raises(ConnectTimeoutError) as caught:
            await session.invoke("x")
    assert caught.value.retryable
    assert server.connections == 1


@pytest.mark.contract
async def test_a_failed_call_gives_its_place_to_the_next() -> None:
    with raw_server(sending(then=Caller.reset), answering(OK)) as server:
        async with AgentRuntimeClient(config=ClientConfig(max_connections=1, max_retries=0)) as client:
            for url in ("http://127.0.0.1:1", server.url):
                with pytest.raises(NetworkError):
                    await client.attach(url).invoke("x")
            assert (await client.attach(server.url).invoke("x")).result == 42


@pytest.mark.contract
async def test_the_connection_that_waits_for_longest_is_closed_for_a_newer_one() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(raw_server(keeping)) for _ in range(4)]
        async with AgentRuntimeClient(config=ClientConfig(max_idle_connections=2)) as client:
            for server in servers:
                await client.attach(server.url).invoke("x")
            for server in servers[:2]:
                assert server.hung_up.acquire(timeout=60)
            for server in servers:
                await client.attach(server.url).invoke("x")
        assert [server.connections for server in servers] == [2, 2, 2, 2]


@pytest.mark.contract
async def test_an_idle_connection_makes_room_for_a_call_to_elsewhere() -> None:
    with raw_server(keeping) as first, raw_server(keeping) as second:
        async with AgentRuntimeClient(config=ClientConfig(max_connections=1)) as client:
            await client.attach(first.url).invoke("x")
            await client.attach(second.url).invoke("x")
            assert first.hung_up.acquire(timeout=60)


async def test_a_connection_that_has_waited_too_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEEP_ALIVE_SECONDS", 0.05)
    async with attached(keeping) as (server, session):
        await session.invoke("x")
        await io.sleep(0.1)  # it waits so long; who is on the other side may be closing it just now
        await session.invoke("x")
        assert server.hung_up.acquire(timeout=60)
    assert server.connections == 2


@pytest.mark.contract
async def test_a_connection_on_which_something_comes_unasked_is_not_used_again() -> None:
    def babbling(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        caller.send(OK)
        server.closed.release()
        caller.wait_until_gone()

    async with attached(babbling) as (server, session):
        for _ in range(3):
            await session.invoke("x")
            assert server.closed.acquire(timeout=60)
    assert server.connections == 3


@pytest.mark.contract
async def test_a_server_that_says_close_is_believed() -> None:
    async with attached(answering(answer(b"1", headers={"Connection": "close"}))) as (server, session):
        for _ in range(2):
            assert (await session.invoke("x")).result == 1
    assert server.connections == 2


@pytest.mark.contract
async def test_a_body_without_a_length_is_read_to_the_end_of_its_connection() -> None:
    async with attached(sending(b"HTTP/1.0 200 OK\r\n\r\n", b'"all ', b'of it"', then=Caller.finish)) as (_, session):
        assert (await session.invoke("x")).result == "all of it"


async def test_interim_answers_are_passed_over() -> None:
    async with attached(answering(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)) as (_, session):
        assert (await session.invoke("x")).result == 42


@pytest.mark.contract
async def test_a_large_request_and_a_large_answer_go_through() -> None:
    large = "x" * 3_000_000
    with raw_server(answering(answer(b'"' + large.encode() + b'"'))) as server:
        async with AgentRuntimeClient() as client:
            assert (await client.attach(server.url).invoke({"prompt": large})).result == large
            assert (await client.attach(server.url).invoke({"prompt": large})).result == large
    assert [len(request.body) for request in server.requests] == [3_000_013] * 2
    assert server.connections == 1


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "gzip, gzip"])
async def test_a_coding_that_is_not_known_is_named(coding: str) -> None:
    async with attached(answering(answer(b"???", headers={"Content-Encoding": coding})), max_retries=0) as (_, session):
        with pytest.raises(NetworkError, match=coding):
            await session.invoke("x")


@pytest.mark.contract
async def test_a_compressed_answer_that_is_broken_is_no_answer() -> None:
    async with attached(answering(answer(b"not compressed", headers={"Content-Encoding": "gzip"})), max_retries=0) as (
        _,
        session,
    ):
        with pytest.raises(NetworkError, match="decompress"):
            await session.invoke("x")


async def test_calls_and_streams_go_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = stream_head() + piece(b"id: 1\ndata: 1\n\n") + piece(b"id: 2\nevent: done\ndata: {}\n\n") + LAST_PIECE
    with tls_server(tmp_path / "authority.pem", answering(OK, events, OK)) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        tls_context.cache_clear()
        async with AgentRuntimeClient() as client:
            session = client.attach(server.url)
            assert (await session.invoke({"prompt": "x" * 1_000_000})).result == 42
            assert [chunk async for chunk in session.stream("x")] == [1]
            assert (await session.invoke("x")).result == 42
    tls_context.cache_clear()
    assert server.connections == 1


@pytest.mark.contract
async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with tls_server(tmp_path / "authority.pem", answering(OK)) as server:
        async with AgentRuntimeClient() as client:
            with pytest.raises(ConfigurationError, match=r"certificate verify failed.*SSL_CERT_FILE"):
                await client.attach(server.url).invoke("x")
    assert server.requests == []
    assert server.connections == 1  # once: the next attempt would meet the same certificate


@pytest.mark.contract
async def test_a_configured_proxy_is_asked_about_other_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "agent.invalid")
    with raw_server(answering(OK)) as proxy, raw_server(answering(OK)) as near:
        async with AgentRuntimeClient(config=ClientConfig(proxy=proxy.url)) as client:
            for url in ("http://agent.invalid:8080", near.url, "http://agent.invalid:8080"):
                assert (await client.attach(url).invoke("x")).result == 42
    assert [request.line for request in proxy.requests] == ["POST http://agent.invalid:8080/invocations HTTP/1.1"] * 2
    assert (proxy.connections, near.connections) == (1, 1)


@pytest.mark.contract
@pytest.mark.parametrize("proxy", ["gopher://u:secret@proxy", "http://u:secret@proxy:x"])
async def test_a_proxy_that_cannot_be_is_a_matter_of_configuration(proxy: str) -> None:
    async with AgentRuntimeClient(config=ClientConfig(proxy=proxy)) as client:
        with pytest.raises(ConfigurationError, match="proxy") as caught:
            await client.attach("http://agent.invalid").invoke("x")
    assert "secret" not in str(caught.value)


@pytest.mark.contract
async def test_a_stream_through_a_proxy_can_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(sending(stream_head(numbered=False) + piece(b"data: 1\n\n"))) as proxy:
        async with AgentRuntimeClient(config=ClientConfig(proxy=proxy.url)) as client:
            async with client.attach("http://agent.invalid").stream("x") as stream:
                assert await anext(stream) == 1
            assert proxy.hung_up.acquire(timeout=60)


@pytest.mark.contract
@pytest.mark.parametrize("url", ["http://agent.invalid:99999", "http://a b", "http://" + "x" * 70 + ".invalid"])
async def test_an_address_that_is_none_is_said(url: str) -> None:
    async with AgentRuntimeClient(config=ClientConfig(max_retries=0)) as client:
        with pytest.raises((ConfigurationError, NetworkError)):
            await client.attach(url).invoke("x")


@pytest.mark.contract
async def test_a_path_travels_percent_encoded() -> None:
    with raw_server(answering(OK)) as server:
        async with AgentRuntimeClient() as client:
            await client.attach(server.url + "/größe und%20so").invoke("x")
    assert server.requests[0].line == "POST /gr%C3%B6%C3%9Fe%20und%20so/invocations HTTP/1.1"
    assert server.requests[0].headers["host"] == server.url.removeprefix("http://")
