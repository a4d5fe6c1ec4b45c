"""What people put around httpx sees every call, streams too; and clients of the caller's own carry them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
import respx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_httpx import HTTPXMock, IteratorStream

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    DefaultAsyncHttpxClient,
    NetworkError,
    TotalTimeoutError,
)
from tests.client._async.clients import attached
from tests.support.raw_server import LAST_PIECE, OK, Caller, answering, piece, raw_server, sending, stream_head

URL = "https://agent.example/base"
ENVELOPE = {"result": 42, "status": "success", "duration": 0.5}
STREAM_HEADERS = {"Content-Type": "text/event-stream", "PPIO-Agent-Protocol": "1"}
EVENTS = b"id: 1\ndata: 1\n\n", b"id: 2\nevent: done\ndata: {}\n\n"
BOTH = OK, stream_head() + b"".join(map(piece, EVENTS)) + LAST_PIECE


async def invoke_and_stream(client: AgentRuntimeClient, url: str = URL) -> None:
    session = client.attach(url)
    assert (await session.invoke("x")).result == 42
    assert [chunk async for chunk in session.stream("x")] == [1]


async def test_pytest_httpx_sees_every_call_of_a_default_client(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(json=ENVELOPE)
    httpx_mock.add_response(stream=IteratorStream(EVENTS), headers=STREAM_HEADERS)
    async with AgentRuntimeClient() as client:
        await invoke_and_stream(client)
    assert [str(request.url) for request in httpx_mock.get_requests()] == [f"{URL}/invocations"] * 2


@pytest.mark.parametrize("using", ["httpx", "httpcore"])
async def test_respx_sees_every_call_of_a_default_client(using: str) -> None:
    with respx.mock(using=using) as router:
        route = router.post(f"{URL}/invocations")
        route.side_effect = [
            httpx.Response(200, json=ENVELOPE),
            httpx.Response(200, content=b"".join(EVENTS), headers=STREAM_HEADERS),
        ]
        async with AgentRuntimeClient() as client:
            await invoke_and_stream(client)
        assert route.call_count == 2


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    yield exporter
    HTTPXClientInstrumentor().uninstrument()


async def test_the_instrumentation_of_opentelemetry_sees_every_call_of_a_default_client(
    spans: InMemorySpanExporter,
) -> None:
    with raw_server(answering(*BOTH)) as server:
        async with AgentRuntimeClient() as client:
            await invoke_and_stream(client, server.url)
    assert [span.name for span in spans.get_finished_spans()] == ["POST", "POST"]
    assert all("traceparent" in request.headers for request in server.requests)


async def test_hooks_of_a_given_client_see_every_call_and_it_stays_open() -> None:
    seen: list[str] = []

    async def asked(request: httpx.Request) -> None:
        seen.append(request.method)

    async def answered(response: httpx.Response) -> None:
        seen.append(response.headers["content-type"])

    with raw_server(answering(*BOTH)) as server:
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [asked], "response": [answered]}
        async with httpx.AsyncClient(event_hooks=hooks, headers={"X-Ours": "1"}) as http_client:
            async with AgentRuntimeClient(http_client=http_client) as client:
                await invoke_and_stream(client, server.url)
            assert not http_client.is_closed
    assert seen == ["POST", "application/json", "POST", "text/event-stream"]
    assert {request.headers["x-ours"] for request in server.requests} == {"1"}
    assert server.connections == 1


async def test_a_transport_of_the_callers_own_carries_every_call() -> None:
    def agent(request: httpx.Request) -> httpx.Response:
        if request.headers["accept"] == "text/event-stream":
            return httpx.Response(200, content=b"".join(EVENTS), headers=STREAM_HEADERS)
        return httpx.Response(200, json=ENVELOPE)

    async with (
        DefaultAsyncHttpxClient(transport=httpx.MockTransport(agent)) as http_client,
        AgentRuntimeClient(http_client=http_client) as client,
    ):
        await invoke_and_stream(client)


async def test_a_client_of_httpx2_carries_calls_and_its_errors_are_ours() -> None:
    with raw_server(answering(*BOTH)) as server:
        async with httpx2.AsyncClient() as other:
            # Not of the class that types ask for, but with the same methods.
            http_client: httpx.AsyncClient = other  # type: ignore[assignment]
            config = ClientConfig(max_retries=0)
            async with AgentRuntimeClient(config=config, http_client=http_client) as client:
                await invoke_and_stream(client, server.url)
                with pytest.raises(NetworkError) as caught:
                    await client.attach("http://127.0.0.1:1").invoke("x")
                assert caught.value.retryable


async def test_a_stream_over_httpx2_has_ended_although_its_connection_breaks_behind_the_closing_event() -> None:
    with raw_server(sending(stream_head() + b"".join(map(piece, EVENTS)), then=Caller.finish)) as server:
        async with httpx2.AsyncClient() as other:
            http_client: httpx.AsyncClient = other  # type: ignore[assignment]
            async with AgentRuntimeClient(http_client=http_client) as client:
                assert [chunk async for chunk in client.attach(server.url).stream("x")] == [1]


async def test_a_client_of_httpx2_keeps_the_limits_of_a_call() -> None:
    with raw_server(sending()) as server:
        async with httpx2.AsyncClient() as other:
            http_client: httpx.AsyncClient = other  # type: ignore[assignment]
            async with AgentRuntimeClient(timeout=0.1, http_client=http_client) as client:
                with pytest.raises(TotalTimeoutError, match=r"0\.1 s"):
                    await client.attach(server.url).invoke("x")


@pytest.mark.parametrize("wrong", [httpx.HTTPTransport(), "http", AgentRuntimeClient])
def test_what_is_no_client_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"http_client must be an httpx\.\w*Client, not"):
        AgentRuntimeClient(http_client=wrong)  # type: ignore[arg-type]


async def test_a_cookie_of_one_agent_goes_to_no_other() -> None:
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\n{}"
    async with attached(answering(cookie)) as (server, session):
        for _ in range(2):
            await session.invoke("x")
    assert not any("cookie" in request.headers for request in server.requests)


async def test_a_default_client_goes_past_the_proxy_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(answering(OK)) as proxy, raw_server(answering(OK)) as near:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "other.invalid")
        async with DefaultAsyncHttpxClient() as http_client:
            assert (await http_client.get(near.url.replace("127.0.0.1", "localhost"))).status_code == 200
            assert (await http_client.get("http://agent.invalid/")).status_code == 200
    assert (len(near.requests), len(proxy.requests)) == (1, 1)
