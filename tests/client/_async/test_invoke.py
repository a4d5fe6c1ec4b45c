"""One call over a real socket: what is sent, what comes back, what is raised when it does not."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    FirstByteTimeoutError,
    HandlerError,
    IdleTimeoutError,
    InvocationError,
    InvocationRequest,
    NetworkError,
    PingStatus,
    RateLimitedError,
    SandboxGoneError,
    SessionStatus,
    TotalTimeoutError,
    UnavailableError,
)
from tests.client._async.clients import attached
from tests.support.raw_server import (
    LAST_PIECE,
    Caller,
    answer,
    answering,
    closed_port,
    hang_up,
    head,
    piece,
    raw_server,
    refusal,
    sending,
)

REFUSALS = [("429 Too Many Requests", RateLimitedError), ("503 x", UnavailableError)]

pytestmark = pytest.mark.contract

ENVELOPE = b'{"result":42,"status":"success","duration":0.5,"metadata":{"request_id":"r-1"}}'
OK = answer(ENVELOPE)


async def test_the_result_of_the_agent_comes_back() -> None:
    async with attached(answering(OK)) as (_, session):
        response = await session.invoke("hello")
    assert (response.result, response.duration, response.metadata) == (42, 0.5, {"request_id": "r-1"})


async def test_the_request_is_sent_as_the_contract_says() -> None:
    with raw_server(answering(OK)) as server:
        async with AgentRuntimeClient() as client:
            session = client.attach(server.url + "/", token="t-1")
            await session.invoke(InvocationRequest(prompt="hello", timeout=9))
    (request,) = server.requests
    assert request.line == "POST /invocations HTTP/1.1"
    assert json.loads(request.body) == {"prompt": "hello", "timeout": 9.0}
    ours = {"host", "content-length", "idempotency-key", "accept-encoding", "connection"}
    sent = {name: request.headers[name] for name in request.headers if name not in ours}
    assert sent == {
        "content-type": "application/json",
        "accept": "application/json",
        "ppio-agent-protocol": "1",
        "x-ppio-session-id": session.session_id,
        "x-ppio-timeout": "9",
        "authorization": "Bearer t-1",
        "user-agent": "ppio-agent-client/0.2.0",
    }
    assert re.fullmatch("[0-9a-f]{32}", request.headers["idempotency-key"])


async def test_calls_of_a_session_share_a_connection() -> None:
    async with attached(answering(OK)) as (server, session):
        for _ in range(3):
            await session.invoke("x")
    assert (len(server.requests), server.connections) == (3, 1)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    def once(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        # The polite end of a keep-alive connection: the client finds it before it sends, so nothing is lost.
        caller.finish()
        server.closed.release()

    async with attached(once) as (server, session):
        for _ in range(3):
            assert (await session.invoke("x")).result == 42
            assert server.closed.acquire(timeout=60)
    assert server.connections == 3


async def test_closing_the_client_closes_its_connections() -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(OK)
        caller.wait_until_gone()

    with raw_server(script) as server:
        client = AgentRuntimeClient()
        await client.attach(server.url).invoke("x")
        await client.close()
        assert server.hung_up.acquire(timeout=60)


async def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(ENVELOPE)
    async with attached(answering(answer(body, headers={"Content-Encoding": "gzip"}))) as (_, session):
        assert (await session.invoke("x")).result == 42


async def test_an_answer_in_pieces_is_read() -> None:
    pieces = [piece(ENVELOPE[start : start + 7]) for start in range(0, len(ENVELOPE), 7)]
    whole = head({"Content-Type": "application/json", "Transfer-Encoding": "chunked"}) + b"".join(pieces) + LAST_PIECE
    async with attached(answering(whole)) as (_, session):
        assert (await session.invoke("x")).result == 42


async def test_the_agents_error_is_raised_with_all_it_says() -> None:
    body = b'{"result":null,"status":"error","error":"no","error_type":"HandlerError"}'
    failed = answer(body, "500 Internal Server Error", {"X-PPIO-Request-Id": "r-7"})
    async with attached(answering(failed)) as (server, session):
        with pytest.raises(HandlerError) as caught:
            await session.invoke("x")
    assert (str(caught.value), caught.value.status_code, caught.value.request_id) == ("no", 500, "r-7")
    assert len(server.requests) == 1


async def test_redirects_are_not_followed() -> None:
    moved = answer(b"{}", "307 Temporary Redirect", {"Location": "/elsewhere"})
    async with attached(answering(moved)) as (server, session):
        with pytest.raises(InvocationError) as caught:
            await session.invoke("x")
    assert caught.value.status_code == 307
    assert len(server.requests) == 1


async def test_a_proxy_of_the_environment_is_not_asked_about_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with closed_port() as nowhere, raw_server(answering(OK)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, nowhere)
        async with AgentRuntimeClient() as client:
            assert (await client.attach(server.url).invoke("x")).result == 42


async def test_a_proxy_of_the_environment_is_asked_about_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(answering(OK)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with AgentRuntimeClient() as client:
            assert (await client.attach("http://agent.invalid:8080").invoke("x")).result == 42
    assert proxy.requests[0].line == "POST http://agent.invalid:8080/invocations HTTP/1.1"


async def test_a_call_that_was_never_sent_may_be_repeated() -> None:
    with closed_port() as url:
        async with AgentRuntimeClient(config=ClientConfig(retry_delay=0, max_retries=2)) as client:
            with pytest.raises(NetworkError) as caught:
                await client.attach(url).invoke("x")
    assert caught.value.retryable


@pytest.mark.parametrize("then", [hang_up, Caller.reset])
async def test_a_call_that_was_sent_and_lost_is_not_repeated(then: object) -> None:
    async with attached(sending(then=then), retry_delay=0) as (server, session):  # type: ignore[arg-type]
        with pytest.raises(NetworkError) as caught:
            await session.invoke("x")
    assert not caught.value.retryable
    assert len(server.requests) == 1


async def test_half_an_answer_is_no_answer() -> None:
    async with attached(sending(OK[:-5], then=hang_up), retry_delay=0) as (server, session):
        with pytest.raises(NetworkError):
            await session.invoke("x")
    assert server.connections == 1


async def test_what_is_no_http_is_a_network_error() -> None:
    async with attached(sending(b"220 mail.example ESMTP\r\n\r\n", then=hang_up), retry_delay=0) as (_, session):
        with pytest.raises(NetworkError):
            await session.invoke("x")


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
async def test_a_refused_call_is_repeated(status: str, kind: type[Exception]) -> None:
    full = refusal(kind.__name__, status)
    async with attached(answering(full, full, OK), retry_delay=0, max_retries=2) as (server, session):
        assert (await session.invoke("x")).result == 42
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
async def test_the_last_refusal_is_raised(status: str, kind: type[InvocationError]) -> None:
    full = refusal(kind.__name__, status)
    async with attached(answering(full), retry_delay=0, max_retries=2) as (server, session):
        with pytest.raises(kind) as caught:
            await session.invoke("x")
    assert caught.value.retryable
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
@pytest.mark.parametrize(
    ("headers", "metadata"),
    [
        ({}, b"{}"),  # another make of agent, or a gateway behind which one has run
        ({"PPIO-Agent-Protocol": "1"}, b"{}"),  # a run that was cut
        ({"PPIO-Agent-Protocol": "1", "Retry-After": "0"}, b'{"status_code":503}'),  # what the agent's own code says
    ],
)
async def test_an_answer_after_which_the_agent_may_have_run_is_not_repeated(
    status: str, kind: type[InvocationError], headers: dict[str, str], metadata: bytes
) -> None:
    body = b'{"status":"error","error":"no","error_type":"%b","metadata":%b}' % (kind.__name__.encode(), metadata)
    async with attached(answering(answer(body, status, headers), OK), retry_delay=0) as (server, session):
        with pytest.raises(kind) as caught:
            await session.invoke("x")
    assert not caught.value.retryable
    assert len(server.requests) == 1


async def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    busy = answer(b"{}", "429 Too Many Requests", {"Retry-After": "3600"})
    async with attached(answering(busy)) as (server, session):
        with pytest.raises(RateLimitedError) as caught:
            await session.invoke("x")
    assert caught.value.retry_after == 3600
    assert len(server.requests) == 1


async def test_a_failed_call_is_not_repeated() -> None:
    async with attached(answering(answer(b"{}", "500 x")), retry_delay=0) as (server, session):
        with pytest.raises(HandlerError):
            await session.invoke("x")
    assert len(server.requests) == 1


async def test_no_first_byte_in_time_is_its_own_error() -> None:
    with raw_server(sending()) as server:
        async with AgentRuntimeClient(config=ClientConfig(retry_delay=0, first_byte_timeout=0.05)) as client:
            with pytest.raises(FirstByteTimeoutError):
                await client.attach(server.url).invoke("x")
        assert server.hung_up.acquire(timeout=60)


async def test_silence_inside_an_answer_is_its_own_error() -> None:
    with raw_server(sending(OK[:-5])) as server:
        async with AgentRuntimeClient(config=ClientConfig(retry_delay=0, idle_timeout=0.05)) as client:
            with pytest.raises(IdleTimeoutError):
                await client.attach(server.url).invoke("x")
        assert server.hung_up.acquire(timeout=60)


async def test_silence_before_an_answer_is_not_idleness() -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        # The only way to show that a limit of 0.3 s does not hold here is to stay silent for longer.
        server.hung_up.acquire(timeout=0.6)
        caller.send(OK)

    async with attached(script, retry_delay=0, idle_timeout=0.3) as (server, session):
        assert (await session.invoke("x")).result == 42


@pytest.mark.parametrize("sent", [b"", OK[:-5]])
async def test_the_whole_call_has_a_limit_of_its_own(sent: bytes) -> None:
    async with attached(sending(sent), timeout=0.05) as (_, session):
        with pytest.raises(TotalTimeoutError, match=r"0\.05 s"):
            await session.invoke("x")


async def test_an_answer_that_drips_forever_meets_the_limit_of_the_call() -> None:
    def drip(caller: Caller) -> None:
        caller.read_request()
        caller.send(head({"Content-Type": "application/json", "Transfer-Encoding": "chunked"}))
        while not server.hung_up.acquire(timeout=0.01):
            caller.send(piece(b" "))

    async with attached(drip, timeout=0.2) as (server, session):
        with pytest.raises(TotalTimeoutError):
            await session.invoke("x")


async def test_the_timeout_of_a_request_limits_the_clients_wait() -> None:
    async with attached(sending()) as (_, session):
        with pytest.raises(TotalTimeoutError, match=r"1\.05 s"):
            await session.invoke({"timeout": 0.05})


async def test_a_pause_that_would_outlast_the_call_is_not_made() -> None:
    busy = answer(b"{}", "503 x", {"Retry-After": "50"})
    async with attached(answering(busy), timeout=30) as (server, session):
        with pytest.raises(UnavailableError):
            await session.invoke("x")
    assert len(server.requests) == 1


async def test_a_ping_says_how_the_agent_feels() -> None:
    sick = answer(b'{"status":"Unhealthy","message":"no db"}', "503 x")
    async with attached(answering(answer(b'{"status":"HealthyBusy"}'), sick)) as (server, session):
        assert (await session.ping()).status is PingStatus.HEALTHY_BUSY
        assert (await session.ping()).message == "no db"
    assert server.requests[0].line == "GET /ping HTTP/1.1"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (answer(b'{"status":"Healthy"}'), SessionStatus.ACTIVE),
        (answer(b"{}", "503 x"), SessionStatus.ERROR),
        (answer(b"{}", "404 Not Found"), SessionStatus.INACTIVE),
    ],
)
async def test_the_status_of_an_attached_agent_is_what_its_ping_says(reply: bytes, status: SessionStatus) -> None:
    async with attached(answering(reply)) as (_, session):
        assert await session.get_status() is status


async def test_an_attached_agent_that_does_not_answer_is_inactive() -> None:
    with closed_port() as url:
        async with AgentRuntimeClient() as client:
            assert await client.attach(url).get_status() is SessionStatus.INACTIVE


async def test_an_attached_session_has_no_sandbox_to_change() -> None:
    async with AgentRuntimeClient() as client:
        session = client.attach("http://127.0.0.1:1")
        for verb in (session.pause, session.resume, session.refresh):
            with pytest.raises(ConfigurationError, match="attached"):
                await verb()
        assert (session.sandbox_id, session.template_id, session.expires_at) == (None, None, None)


async def test_closing_an_attached_session_closes_the_handle() -> None:
    async with AgentRuntimeClient() as client:
        session = client.attach("http://127.0.0.1:1")
        assert session.is_active
        assert not await session.close()
        assert not session.is_active
        assert await session.get_status() is SessionStatus.CLOSED
        with pytest.raises(SandboxGoneError, match="closed"):
            await session.invoke("x")
