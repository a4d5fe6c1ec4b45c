"""How requests cross to the loop of isolated handlers and their answers come back: whole, in order, and held up."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.runtime.test_backpressure import Standstill
from tests.runtime.test_isolation import isolated
from tests.support.gates import Count, aside, eventually
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, invoke, request

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_producer_waits_for_a_slow_reader_and_then_goes_on_where_it_was(kind: str) -> None:
    app, made, total = isolated(), Count(), 2000

    def numbers() -> Iterator[str]:
        for number in range(total):
            made.add()
            yield f"{number}:" + "x" * 10_000

    async def numbers_on_the_loop(payload: dict[str, object]) -> AsyncIterator[str]:
        for each in numbers():
            yield each

    app.entrypoint(numbers_on_the_loop if kind == "async" else lambda payload: numbers())
    with running(app) as url, Connection(url, receive_buffer_bytes=4096) as connection:
        connection.post(headers=PROTOCOL_1 | EVENT_STREAM)
        eventually(Standstill(lambda: made.value), "the producer waits")
        assert made.value < total
        connection.read_head()
        *chunks, done = connection.events()
    assert [event.data.partition(":")[0] for event in chunks] == [str(number) for number in range(total)]
    assert done.kind == "done"


def test_body_that_comes_in_pieces_is_complete_and_a_large_answer_too() -> None:
    app = isolated()

    @app.entrypoint
    async def handler(payload: dict[str, str]) -> str:
        return payload["text"]

    whole = request({"text": "x" * 900_000})
    with running(app) as url, Connection(url) as caller:
        for first in (10, 200, 1000, len(whole) - 1):
            caller.send(whole[:first])
            assert get(url, "/ping").status == 200  # what was sent has been read meanwhile
            caller.send(whole[first:])
            assert caller.read_answer().result == "x" * 900_000


def test_caller_that_waits_for_100_continue_gets_it() -> None:
    app = isolated()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        return "here"

    with running(app) as url, Connection(url) as caller:
        head, _, body = request({}, {"Expect": "100-continue"}).partition(b"\r\n\r\n")
        caller.send(head + b"\r\n\r\n")
        assert caller.read_head()[0] == 100
        caller.send(body)
        assert caller.read_answer().result == "here"


def test_answer_that_is_no_http_is_cut_and_the_next_one_is_served() -> None:
    app = isolated()

    async def around(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/broken":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app.entrypoint_app(scope, receive, send)  # type: ignore[attr-defined]

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        return "here"

    def layer(inner: Any) -> Any:
        app.entrypoint_app = inner  # type: ignore[attr-defined]
        return around

    app.add_middleware(layer)
    with running(app) as url:
        with Connection(url) as caller:
            caller.send(b"GET /broken HTTP/1.1\r\nHost: agent\r\n\r\n")
            assert caller.read_to_the_end() == b""
        assert invoke(url).result == "here"


def test_context_of_the_app_that_serves_it_reaches_the_handler() -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    inner = isolated()

    @inner.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        await asyncio.sleep(0)
        return tenant.get()

    async def with_tenant(scope: Any, receive: Any, send: Any) -> None:
        tenant.set(dict(scope["headers"])[b"x-tenant"].decode())
        await inner(scope, receive, send)

    outer = PPIOAgentRuntimeApp()
    outer.fastapi.mount("/inner", with_tenant)

    @outer.entrypoint
    async def unused(payload: dict[str, object]) -> None: ...

    def ask(number: int) -> Any:
        with Connection(url) as caller:
            caller.send(request({}, {"x-tenant": f"t{number}"}).replace(b"/invocations", b"/inner/invocations"))
            return caller.read_answer().result

    try:
        with running(outer) as url:
            asked = [aside(lambda number=number: ask(number)) for number in range(20)]  # type: ignore[misc]
            assert [each.result() for each in asked] == [f"t{number}" for number in range(20)]
    finally:
        inner.close()
