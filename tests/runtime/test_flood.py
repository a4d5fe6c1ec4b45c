"""Garbage, half requests and crowds: the server answers what can be answered, and is the same as before."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from ppio_agent_models import AgentError
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.agent_process import agent_process
from tests.support.gates import aside, eventually
from tests.support.raw_http import EVENT_STREAM, Connection, get, invoke, request

pytestmark = pytest.mark.contract

AGENT = """
app = PPIOAgentRuntimeApp(AgentConfig(request_read_timeout_seconds=5))

@app.entrypoint
async def handler(payload):
    return {"tasks": len(asyncio.all_tasks())}
"""

Garbage = Callable[[random.Random], bytes]


def _random_bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1, 2000))


def _bad_http(chance: random.Random) -> bytes:
    return chance.choice(
        [
            b"POST /invocations HTTP/9.9\r\n\r\n",
            b"POST /invocations\r\n\r\n",
            b"\r\n\r\n\r\n",
            b"POST /invocations HTTP/1.1\r\nContent-Length: minus one\r\n\r\n{}",
            b"POST /invocations HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
            b"POST /invocations HTTP/1.1\r\nNo colon here\r\n\r\n",
            b"CONNECT agent:80 HTTP/1.1\r\nHost: agent\r\n\r\n",
            b"POST /\xff\xfe HTTP/1.1\r\nHost: agent\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ]
    )


def _bad_json(chance: random.Random) -> bytes:
    body = chance.choice(
        [b"", b"{", b"[" * 5000, b"\xff\xfe", b"NaN", b'{"a": Infinity}', b"[1, 2]", b'"text"', b"null"]
    )
    return b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _wrong_method_or_route(chance: random.Random) -> bytes:
    method = chance.choice([b"GET", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"HEAD"])
    path = chance.choice([b"/invocations", b"/ping", b"/", b"/nowhere", b"/%00%ff", b"/" + b"a" * 3000])
    return b"%b %b HTTP/1.1\r\nHost: agent\r\n\r\n" % (method, path)


def _huge_headers(chance: random.Random) -> bytes:
    return b"POST /invocations HTTP/1.1\r\n" + b"".join(
        b"X-%d: %b\r\n" % (number, b"x" * chance.randrange(1000)) for number in range(chance.randrange(100))
    )


def _truncated_body(chance: random.Random) -> bytes:
    whole = request({"prompt": "x" * 1000})
    return whole[: chance.randrange(1, len(whole))]


def _pipelined(chance: random.Random) -> bytes:
    return request() * chance.randrange(2, 5) + _random_bytes(chance)


def _too_large(chance: random.Random) -> bytes:
    return b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: 99999999\r\n\r\n" + b"x" * chance.randrange(
        5000
    )


KINDS: list[Garbage] = [
    _random_bytes,
    _bad_http,
    _bad_json,
    _wrong_method_or_route,
    _huge_headers,
    _truncated_body,
    _pipelined,
    _too_large,
]


def _throw(url: str, count: int, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(count):
        with suppress(OSError):
            connection = Connection(url)
            with suppress(OSError):
                connection.send(KINDS[number % len(KINDS)](chance))
                way = chance.randrange(4)
                if way == 0:
                    connection.half_close()
                elif way == 1:
                    connection.socket.settimeout(0.001)
                    connection.socket.recv(1000)
                elif way == 2:
                    connection.reset()
            connection.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts another process's descriptors in /proc")
@pytest.mark.slow
def test_five_thousand_pieces_of_garbage_leave_the_server_as_it_was(tmp_path: Path) -> None:
    with agent_process(tmp_path, AGENT) as agent:

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{agent.process.pid}/fd"))

        assert invoke(agent.url).status == 200
        assert get(agent.url, "/nowhere").status == 404
        eventually(lambda: invoke(agent.url).result["tasks"] <= 4, "the start is over")
        before = descriptors()
        thrown = [aside(lambda seed=seed: _throw(agent.url, 1250, seed)) for seed in range(4)]  # type: ignore[misc]
        for each in thrown:
            each.result()
        assert invoke(agent.url).status == 200
        eventually(lambda: invoke(agent.url).result["tasks"] <= 4, "no task is left")
        eventually(lambda: descriptors() <= before + 2, "no descriptor is left")
        assert get(agent.url, "/ping").json["status"] == "Healthy"
        assert "Traceback" not in agent.log
        agent.terminate()
        assert agent.wait() == 0


def test_thousand_idle_connections_keep_nobody_from_being_served() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        return "here"

    with running(app) as url, ExitStack() as stack:
        for number in range(1000):
            connection = stack.enter_context(Connection(url))
            if number % 2:
                connection.send(b"POST /invocations HTTP/1.1\r\nHost:")
        assert invoke(url).result == "here"
        assert get(url, "/ping").json["status"] == "Healthy"


def test_garbage_behind_a_request_does_not_get_into_its_stream() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> AsyncIterator[int]:
        yield 1
        await asyncio.Future()

    with running(app) as url, Connection(url) as connection:
        connection.post(headers=EVENT_STREAM)
        connection.read_head()
        next(connection.events())
        connection.send(b"this is not HTTP\r\n\r\n")
        assert b"HTTP/1.1" not in connection.read_to_the_end()


@pytest.mark.slow
def test_twenty_thousand_requests_leave_no_memory_behind() -> None:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> str:
        return "x" * 1000

    twenty = request() * 20

    def ask(times: int) -> None:
        with Connection(url) as connection:
            for _ in range(times):
                connection.send(twenty)
                for _ in range(20):
                    assert connection.read_answer().status == 200

    with running(app) as url:
        ask(100)
        tracemalloc.start()
        try:
            ask(100)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            ask(800)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert grown < 500_000  # of 16,000 requests: not even 32 bytes for each


@pytest.mark.parametrize("kind", ["value", "failure", "stream", "sync stream", "cancelled"])
@pytest.mark.slow
def test_request_leaves_no_reference_cycle_that_holds_its_context(kind: str) -> None:
    class Payload(dict[str, object]):
        """Can be referred to weakly."""

    app, kept = PPIOAgentRuntimeApp(), []

    def hold() -> Payload:
        held = Payload()
        kept.append(weakref.ref(held))
        return held

    @app.entrypoint
    async def handler(payload: dict[str, object]) -> object:
        held = hold()
        if kind == "failure":
            raise AgentError("told", status_code=418)
        if kind == "stream":
            return numbers(held)
        if kind == "sync stream":
            return sync_numbers(held)
        if kind == "cancelled":
            await asyncio.Future()
        return held

    async def numbers(held: Payload) -> AsyncIterator[int]:
        yield len(held)

    def sync_numbers(held: Payload) -> Iterator[int]:
        yield len(held)

    with running(app) as url, Connection(url) as connection:
        gc.collect()
        gc.disable()
        try:
            connection.post(headers={"X-PPIO-Timeout": "0.05"} if kind == "cancelled" else {})
            connection.read_answer()
            connection.post(headers={"Accept": "text/plain"})  # refused: the next one on the connection
            connection.read_answer()
            eventually(lambda: kept[0]() is None, "freed without the garbage collector")
        finally:
            gc.enable()
