"""What stands between the client and the agent, and small mistakes: told at once, as what they are."""

from __future__ import annotations

from typing import Any

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AuthManager,
    ClientConfig,
    ConfigurationError,
    ConnectTimeoutError,
    InvocationError,
    NetworkError,
    NotFoundError,
    PlatformSandboxProvider,
    PPIOAgentRuntimeError,
    SandboxGoneError,
    SessionStatus,
)
from tests.client._async.clients import attached, shelved
from tests.support.raw_server import OK, Caller, answer, answering, closed_port, raw_server, sending

pytestmark = pytest.mark.contract

PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def page(status: str, **headers: str) -> bytes:
    return answer(PAGE, status, {"Content-Type": "text/html", "Server": "nginx/1.26", **headers})


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirect_is_named_with_where_it_leads_and_not_followed(status: str) -> None:
    redirect = page(status, Location="https://user:secret@agents.example/base?key=secret")
    async with attached(answering(redirect)) as (server, session):
        with pytest.raises(NetworkError, match=r"'https://agents\.example/base'") as caught:
            await session.invoke("x")
        with pytest.raises(NetworkError, match=r"agents\.example"):
            [chunk async for chunk in session.stream("x")]
    assert "secret" not in str(caught.value)
    assert (caught.value.status_code, caught.value.retryable) == (int(status[:3]), False)
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", ["502 Bad Gateway", "504 Gateway Timeout", "407 Proxy Authentication Required"])
async def test_what_a_gateway_says_is_told_as_a_gateways(status: str) -> None:
    async with attached(answering(page(status)), max_retries=0) as (_, session):
        with pytest.raises(
            NetworkError, match=rf"gateway or proxy .*nginx/1\.26.* responded with {status[:3]}"
        ) as caught:
            await session.invoke("x")
    assert "<" not in str(caught.value)
    assert (caught.value.status_code, caught.value.retryable) == (int(status[:3]), False)


async def test_a_web_page_is_never_quoted_as_the_agents_words() -> None:
    async with attached(answering(page("404 Not Found"), page("500 x"), page("503 x")), max_retries=0) as (_, session):
        with pytest.raises(NotFoundError, match=r"web page; is the URL right\?"):
            await session.invoke("x")
        for _ in range(2):
            with pytest.raises(InvocationError, match="web page") as caught:
                await session.invoke("x")
            assert "<" not in str(caught.value)
            assert not caught.value.retryable


async def test_a_web_page_is_neither_a_result_nor_a_healthy_ping() -> None:
    async with attached(answering(page("200 OK"))) as (server, session):
        with pytest.raises(NetworkError, match="200 and a web page") as caught:
            await session.invoke("x")
        with pytest.raises(NetworkError, match="web page"):
            await session.ping()
        with pytest.raises(NetworkError, match="web page"):
            [chunk async for chunk in session.stream("x")]
    assert not caught.value.retryable
    assert len(server.requests) == 3


async def test_a_page_that_an_agent_returns_is_its_result() -> None:
    async with attached(answering(page("200 OK", **{"PPIO-Agent-Protocol": "1"}))) as (_, session):
        assert (await session.invoke("x")).result == PAGE.decode()


async def test_the_agents_own_502_is_its_own() -> None:
    own = answer(b'{"error":"upstream","error_type":"AgentError"}', "502 x", {"PPIO-Agent-Protocol": "1"})
    async with attached(answering(own)) as (_, session):
        with pytest.raises(InvocationError, match=r"^upstream$"):
            await session.invoke("x")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("fa\u00df.example", "xn--fa-hia.example"),
        ("\u03b2\u03cc\u03bb\u03bf\u03c2.example", "xn--nxasmm1c.example"),
        ("\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example", "xn--mgba3gch31f060k.example"),
    ],
)
async def test_international_names_lead_where_browsers_lead(name: str, sent: str) -> None:
    # IDNA 2003 makes them names of another domain, which would get the token.
    with raw_server(answering(OK)) as proxy:
        async with AgentRuntimeClient(config=ClientConfig(proxy=proxy.url)) as client:
            assert (await client.attach(f"http://{name}", token="t").invoke("x")).result == 42
    assert proxy.requests[0].line == f"POST http://{sent}/invocations HTTP/1.1"
    assert proxy.requests[0].headers["host"] == sent


@pytest.mark.parametrize("scheme", ["socks5", "http"])
@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_a_proxy_that_says_nothing_is_left_after_the_time_to_connect(scheme: str, way: str) -> None:
    with raw_server(Caller.wait_until_gone) as proxy:
        address = proxy.url.replace("http", scheme, 1)
        config = ClientConfig(proxy=address, connect_timeout=0.2, max_retries=0, timeout=None, idle_timeout=None)
        async with AgentRuntimeClient(config=config) as client:
            session = client.attach("https://agent.example")
            with pytest.raises(ConnectTimeoutError) as caught:
                await session.invoke("x", stream=way == "stream")
    assert caught.value.retryable


@pytest.mark.parametrize("said", [b"\x05", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
async def test_a_proxy_that_does_not_speak_socks_is_named(said: bytes) -> None:
    def answer_oddly(caller: Caller) -> None:
        caller.send(said)
        caller.wait_until_gone()

    with raw_server(answer_oddly) as proxy:
        config = ClientConfig(proxy=proxy.url.replace("http", "socks5", 1), max_retries=0)
        async with AgentRuntimeClient(config=config) as client:
            with pytest.raises(NetworkError, match="does not answer as a SOCKS proxy does") as caught:
                await client.attach("https://agent.example").invoke("x")
    assert caught.value.retryable


async def test_a_proxy_that_wants_credentials_says_so_at_once() -> None:
    with raw_server(answering(answer(PAGE, "407 Proxy Authentication Required"))) as proxy:
        async with AgentRuntimeClient(config=ClientConfig(proxy=proxy.url)) as client:
            with pytest.raises(ConfigurationError, match="proxy responded with 407"):
                await client.attach("https://agent.example").invoke("x")
    assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("127.0.0.1:8080", r"did you mean 'http://127\.0\.0\.1:8080'"),
        ("localhost:8080/", r"did you mean 'http://localhost:8080/'"),
        ("agents.example", r"did you mean 'https://agents\.example'"),
        ("ftp://agents.example", "begins with 'ftp'"),
        ("http://agents.example:99999", r"port out of range 0-65535"),
        ("http://", "has no host"),
        ("https://user:secret@agents.example", "token= or auth="),
        ("https://agents.example?key=secret", "query"),
    ],
)
async def test_an_address_that_is_none_says_what_to_write(url: str, told: str) -> None:
    async with AgentRuntimeClient() as client:
        with pytest.raises(ConfigurationError, match=told) as caught:
            client.attach(url)
    assert "secret" not in str(caught.value)


async def test_a_token_from_a_file_is_used_without_its_newline(caplog: pytest.LogCaptureFixture) -> None:
    with raw_server(answering(OK)) as server:
        async with AgentRuntimeClient() as client:
            await client.attach(server.url, token="sk_1\n").invoke("x")
            with pytest.raises(ConfigurationError, match="character 4 of 5"):
                client.attach(server.url, token="sk_\u00e91")
    assert server.requests[0].headers["authorization"] == "Bearer sk_1"
    assert "white space" in caplog.text
    assert "sk_1" not in caplog.text


async def test_a_client_that_is_closed_says_so() -> None:
    with raw_server(answering(OK)) as server:
        client = AgentRuntimeClient()
        session = client.attach(server.url)
        await client.close()
        with pytest.raises(PPIOAgentRuntimeError, match=r"closed.*; create a new one"):
            await session.invoke("x")


async def test_the_words_of_the_seed_can_be_read() -> None:
    async with AgentRuntimeClient("key-1", "secret-1", "http://api.example", 7) as client:
        assert (client.base_url, client.timeout, client.auth_manager.api_key) == ("http://api.example", 7, "key-1")
        session = client.attach("http://agent.example")
        assert (session.client, session.status) == (client, SessionStatus.ACTIVE)
        assert "secret-1" not in repr(vars(type(client.auth_manager))) + repr(client.auth_manager)


async def test_a_session_is_not_active_once_somebody_has_said_that_it_is_gone() -> None:
    async with shelved() as (_, shelf, client):
        session = await client.create_session("t-1")
        shelf.sandboxes.clear()
        assert (session.is_active, session.status) == (True, SessionStatus.ACTIVE)
        assert await session.get_status() is SessionStatus.CLOSED
        assert (session.is_active, session.status) == (False, SessionStatus.CLOSED)
        with pytest.raises(SandboxGoneError):
            await session.invoke("x")


async def test_a_ping_of_a_session_that_is_gone_says_so() -> None:
    with closed_port() as url:
        async with shelved() as (_, shelf, client):
            session = await client.create_session("t-1")
            shelf.sandboxes.clear()
            session._connection.peer.url = url  # nobody listens there any more
            with pytest.raises(SandboxGoneError):
                await session.ping()
            assert not session.is_active


@pytest.mark.parametrize("settings", [{"timeout": 0.2}, {"platform_timeout": 0.2}])
async def test_the_time_limit_of_a_call_bounds_those_to_the_platform(settings: dict[str, Any]) -> None:
    with raw_server(sending()) as server:
        config = ClientConfig(api_key="k", base_url=server.url, max_retries=0, **settings)
        provider = PlatformSandboxProvider(config, auth=AuthManager("k"))
        with pytest.raises(NetworkError, match=r"0\.2 s"):
            await provider.list_templates()
        await provider.close()
    assert len(server.requests) == 1
