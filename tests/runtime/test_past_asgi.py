"""A call past ASGI and the same call through it are answered alike, and the door is as closed."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime._asgi import ASGIApp
from ppio_agent_runtime.testing import running

KEY = b"X-API-Key: the-key-of-the-door"
BODIES = {
    "object": b'{"text": "hello"}',
    "named": b'{"text": "hello", "session_id": "s 1/\xc3\xa9", "timeout": 5}',
    "stream": b'{"text": "hello", "stream": true}',
    "chunks": b'{"chunks": 3}',
    "failing": b'{"fail": true}',
    "response": b'{"response": true}',
    "list": b"[1]",
    "empty": b"",
    "blank": b"  ",
    "broken": b'{"text": ',
    "large": json.dumps({"text": "x" * 200_000}).encode(),
    "too large": json.dumps({"text": "x" * 400_000}).encode(),
}
FIELDS = {
    "plain": b"",
    "ids": b"X-PPIO-Request-Id: r-1\r\nX-PPIO-Session-Id: s-1\r\nX-PPIO-User-Id: u-1\r\n",
    "odd session": b"X-PPIO-Session-Id: %E4%BD%A0%20x\r\n",
    "bad session": b"X-PPIO-Session-Id: %FF\r\n",
    "no JSON": b"Content-Type: text/plain\r\n",
    "packed": b"Content-Encoding: gzip\r\n",
    "as stream": b"Accept: text/event-stream\r\n",
    "as nothing": b"Accept: image/png\r\n",
    "two lists": b"Accept: text/plain\r\nAccept: application/json\r\n",
    "bad timeout": b"X-PPIO-Timeout: soon\r\n",
    "protocol 1": b"PPIO-Agent-Protocol: 1\r\n",
    "key": b"Idempotency-Key: k-1\r\n",
}


def agent(**settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(max_request_size=300_000, **settings))

    @app.entrypoint
    async def answer(payload: dict[str, Any]) -> Any:
        if payload.get("fail"):
            raise ValueError("no")
        if payload.get("response"):
            from starlette.responses import PlainTextResponse

            return PlainTextResponse("own", 207)
        if "chunks" in payload:
            return (part async for part in parts(payload["chunks"]))
        context = app.context
        assert context is not None
        seen = [context.session_id, context.user_id, context.timeout, context.headers.get("host")]
        return {"length": len(payload["text"]), "seen": seen}

    async def parts(count: int) -> Any:
        for number in range(count):
            yield number

    return app


def behind_a_layer(app: PPIOAgentRuntimeApp) -> PPIOAgentRuntimeApp:
    def layer(inside: ASGIApp) -> ASGIApp:
        async def pass_on(scope: Any, receive: Any, send: Any) -> None:
            await inside(scope, receive, send)

        return pass_on

    app.add_middleware(layer)
    return app


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    with running(agent()) as past, running(behind_a_layer(agent())) as through:
        yield [int(url.rpartition(":")[2]) for url in (past, through)]


@pytest.fixture(scope="module")
def locked_ports() -> Iterator[list[int]]:
    settings: dict[str, Any] = {
        "api_keys": [KEY.partition(b": ")[2].decode()],
        "hmac_keys": {"me": "a-secret-of-16-bytes"},
    }
    with running(agent(**settings)) as past, running(behind_a_layer(agent(**settings))) as through:
        yield [int(url.rpartition(":")[2]) for url in (past, through)]


def asked(port: int, fields: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return head and body of the answer, without what differs from call to call."""
    content_type = b"" if b"Content-Type" in fields else b"Content-Type: application/json\r\n"
    head = b"POST /invocations HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n%b%bContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), 30) as caller:
        caller.sendall(head % (content_type, fields, len(body)) + body)
        received = b"".join(iter(lambda: caller.recv(65536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    return _steady(b"\r\n".join(sorted(head.split(b"\r\n")))), _steady(_joined(body) if b"chunked" in head else body)


def _joined(chunked: bytes) -> bytes:
    whole = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        whole, chunked = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return whole


def _steady(text: bytes) -> bytes:
    text = re.sub(rb"[0-9a-f]{32}", b"ID", text)
    text = re.sub(rb'"(duration|created_at|started_at|ended_at)":[0-9.]+', rb'"\1":0', text)
    return re.sub(rb"date: [^\r]+|content-length: \d+", b"", text)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_the_answer_is_the_same(ports: list[int], fields: bytes, body: bytes) -> None:
    past, through = (asked(port, fields, body) for port in ports)

    assert past == through
    assert past[0]


@pytest.mark.parametrize(
    "key", [b"", KEY + b"\r\n", KEY + b"x\r\n", b"Authorization: Bearer no\r\n", KEY + b"\r\nOrigin: http://a\r\n"]
)
def test_the_door_is_as_closed(locked_ports: list[int], key: bytes) -> None:
    past, through = (asked(port, key, BODIES["object"]) for port in locked_ports)

    assert past == through
    assert (b"HTTP/1.1 200 OK" in past[0]) == key.startswith(KEY + b"\r\n")
