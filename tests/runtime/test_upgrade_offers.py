"""An offer of another protocol that nobody takes is ignored, body and all (RFC 9110, section 7.8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from starlette.websockets import WebSocket
from websockets.sync.client import connect as connect_websocket

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.raw_http import Connection, get, request

BODY = json.dumps({"text": "x" * 300}).encode()
CHUNKS = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:100], BODY[100:])) + b"0\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
START = b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\n" + OFFER
FRAMED = {
    "a length": START + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "chunks": START + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def echo(payload: dict[str, object]) -> object:
        return payload

    with running(app) as base:
        yield base


@pytest.mark.parametrize("sent", FRAMED.values(), ids=FRAMED)
@pytest.mark.slow
def test_request_with_an_offer_is_answered_wherever_it_is_cut(url: str, sent: bytes) -> None:
    with Connection(url) as caller:
        for cut in range(1, len(sent), 7):
            caller.send(sent[:cut])
            assert get(url, "/ping").status == 200  # what was sent has been read meanwhile
            caller.send(sent[cut:])
            assert caller.read_answer().result == {"text": "x" * 300}


@pytest.mark.parametrize("sent", FRAMED.values(), ids=FRAMED)
def test_requests_behind_an_offer_are_answered_too(url: str, sent: bytes) -> None:
    with Connection(url) as caller:
        caller.send(sent + request({"next": 1}) + sent + request({"next": 2}))
        answers = [caller.read_answer().result for _ in range(4)]
    assert answers == [{"text": "x" * 300}, {"next": 1}, {"text": "x" * 300}, {"next": 2}]


@pytest.mark.parametrize("offer", [b"h2c", b"websocket", b"TLS/1.0", b"a, b", b"\xff", b""])
@pytest.mark.parametrize("method", [b"GET /ping", b"DELETE /invocations/none", b"OPTIONS *", b"GET http://agent"])
def test_no_offer_breaks_anything(url: str, offer: bytes, method: bytes) -> None:
    with Connection(url) as caller:
        head = b"%b HTTP/1.1\r\nHost: agent\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n" % (method, offer)
        caller.send(head * 2)
        assert {caller.read_answer().status, caller.read_answer().status} <= {200, 404}


def test_body_of_an_offer_has_the_limits_of_every_body(url: str) -> None:
    with Connection(url) as caller:
        caller.send(START + b"Content-Length: 100000000\r\n\r\n")
        assert caller.read_answer().status == 413


@pytest.mark.parametrize("target", [b"agent:80", b"/ping", b"//agent", b"/%zz", b"http://agent/ping"])
@pytest.mark.parametrize("offer", [b"", b"Connection: upgrade\r\nUpgrade: h2c\r\n"])
def test_tunnel_is_refused(url: str, target: bytes, offer: bytes) -> None:
    with Connection(url) as caller:
        caller.send(b"CONNECT %b HTTP/1.1\r\nHost: agent\r\n%b\r\n" % (target, offer))
        assert caller.read_answer().status == 400


@pytest.mark.parametrize("target", ["http://x", "http://x?q=1", "http://x/"])
def test_target_without_a_path_is_the_root(url: str, target: str) -> None:
    with Connection(url) as caller:
        caller.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert caller.read_answer().json["service"] == "ppio-agent-runtime"


@pytest.mark.parametrize("target", ["http://[::1", "http://x:99999999/ping", "http:///ping"])
def test_target_that_is_none_is_refused(url: str, target: str) -> None:
    with Connection(url) as caller:
        caller.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert caller.read_answer().status == 400


def test_trailers_are_shown_to_nobody_and_counted() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def tell(payload: dict[str, object]) -> object:
        assert app.context is not None
        return [name for name in app.context.headers if name.startswith("x-")]

    chunks = b"POST /invocations HTTP/1.1\r\nHost: agent\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with running(app) as base, Connection(base) as caller:
        caller.send(chunks + b"X-PPIO-User-Id: somebody\r\n\r\n")
        assert caller.read_answer().result == []
        caller.send(chunks + b"X-A: b\r\n" * 300)
        assert caller.read_answer().status == 431


def test_websocket_has_no_limit_on_heads() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(request_read_timeout_seconds=1))
    app.entrypoint(lambda payload: None)

    @app.websocket
    async def slow(websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(1.5)  # longer than a head may take
        await websocket.send_text("here")

    with running(app) as base, connect_websocket(base.replace("http", "ws") + "/ws") as socket:
        assert socket.recv(timeout=60) == "here"
