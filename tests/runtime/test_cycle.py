"""One request and its answer on a connection: what leaves in one write, and what never leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime._asgi import ASGIApp, Receive, Scope, Send
from ppio_agent_runtime._http.protocol import AgentHttpProtocol

POST = b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    """A connection that keeps every write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5) if name in ("peername", "sockname") else default


async def answered(app: PPIOAgentRuntimeApp, request: bytes = POST) -> Wire:
    """Return the connection once the request has been answered."""
    config = Config(app, http=AgentHttpProtocol, ws="none", lifespan="off", proxy_headers=False)
    config.load()
    state = ServerState()
    protocol, wire = AgentHttpProtocol(config, state, {}), Wire()
    protocol.connection_made(wire)
    protocol.data_received(request)
    await asyncio.wait(state.tasks)
    protocol.connection_lost(None)
    return wire


def agent(answer: ASGIApp | None = None) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig())

    @app.entrypoint
    async def echo(payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    if answer is not None:
        app.add_middleware(lambda _inside: answer)
    return app


def sending(headers: list[tuple[bytes, bytes]], *parts: bytes, status: int = 200) -> ASGIApp:
    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return answer


async def test_head_and_body_of_a_value_leave_in_one_write() -> None:
    wire = await answered(agent())

    (write,) = wire.writes
    assert write.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"result":{}' in write


async def test_head_of_a_stream_leaves_with_its_first_chunk_where_that_is_there() -> None:
    wire = await answered(agent(sending([], b"one", b"two")))

    assert wire.writes[0].endswith(b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n")
    assert wire.writes[1:] == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]


async def test_head_of_a_stream_does_not_wait_for_its_first_chunk() -> None:
    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"one"})

    wire = await answered(agent(answer))

    assert wire.writes[0].endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert wire.writes[1:] == [b"3\r\none\r\n0\r\n\r\n"]


async def test_stream_that_fails_after_its_head_shows_the_head_before_the_cut() -> None:
    async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("broken")

    wire = await answered(agent(answer))

    (write,) = wire.writes
    assert write.endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert wire.closed


async def test_last_chunks_of_an_agent_and_the_end_leave_in_one_write() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig())

    @app.entrypoint
    async def count(_payload: dict[str, Any]) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    wire = await answered(app)

    first, rest = wire.writes
    assert first.endswith(b"data: 0\n\n\r\n")
    assert rest.endswith(b"data: 1\n\ndata: 2\n\n: done\n\n\r\n0\r\n\r\n")


async def test_answer_to_head_has_no_body() -> None:
    wire = await answered(agent(), b"HEAD /ping HTTP/1.1\r\nHost: agent\r\n\r\n")

    assert b"".join(wire.writes).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "field",
    [
        (b"x-a", b"b\r\nset-cookie: c"),
        (b"x-a", b"b\nc"),
        (b"x-a", b"\x00"),
        (b"x-a: b\r\nset-cookie", b"c"),
        (b"", b"c"),
    ],
)
async def test_field_that_would_become_two_is_never_sent(field: tuple[bytes, bytes]) -> None:
    wire = await answered(agent(sending([field])))

    told = b"".join(wire.writes)
    assert told.startswith(b"HTTP/1.1 500 ")
    assert b"cookie" not in told


@pytest.mark.parametrize("length", [b"2", b"4"])
async def test_body_of_another_length_than_announced_closes_the_connection(length: bytes) -> None:
    wire = await answered(agent(sending([(b"content-length", length)], b"one")))

    assert wire.closed


async def test_caller_that_wants_the_connection_closed_is_told_that_it_is() -> None:
    wire = await answered(agent(), POST.replace(b"Host", b"Connection: close\r\nHost"))

    assert b"connection: close\r\n" in wire.writes[0]
    assert wire.closed
