"""Calls an agent as fast as it can: with our client, with httpx alone, or with bare asyncio; a process of its own.

Usage: python -m tests.bench.client_worker raw|httpx|ours|aiohttp posts|events PORT CONCURRENCY SECONDS. `aiohttp` is
our client over `ppio-agent-client[aiohttp]`. Prints calls or events per second, and microseconds of processor time for
each.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from .loads import PAYLOAD

if TYPE_CHECKING:
    from ppio_agent_client import SandboxSession

_HEAD = b"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

Call = Callable[[], Awaitable[int]]
"""Does one thing, and returns how many that was: 1 call, or the events of a stream."""


def _request() -> bytes:
    body = json.dumps(PAYLOAD).encode()
    return _HEAD % len(body) + body


class RawConnection(asyncio.Protocol):
    """One connection that does no more than it must."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what arrives, and tell who waits once it is all there."""
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length and self._answer is not None:
            self._received = b""
            self._answer.set_result(body)

    async def call(self) -> int:
        """Encode and send one request, decode its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(_request())
        json.loads(await self._answer)
        return 1


async def raw_events(port: int) -> int:
    """Read a stream, split it into events and find the data of each, undecoded; return how many there were."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(_request())
    await reader.readuntil(b"\r\n\r\n")
    count, rest, tail = 0, b"", b""
    while not rest.endswith(b"0\r\n\r\n"):
        rest += await reader.read(1 << 18)
        parts, at = [], 0
        while (end := rest.find(b"\r\n", at)) > 0 and (size := int(rest[at:end], 16)):
            if len(rest) < end + 4 + size:
                break
            parts.append(rest[end + 2 : end + 2 + size])
            at = end + 4 + size
        rest = rest[at:]
        *events, tail = (tail + b"".join(parts)).split(b"\n\n")
        for event in events:
            at = event.find(b"data: ")
            if at >= 0:
                count += bool(event[at + 6 :])
    writer.close()
    return count


async def _raw(what: str, port: int, concurrency: int, _stack: AsyncExitStack) -> list[Call]:
    if what == "events":
        return [lambda: raw_events(port)] * concurrency
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(RawConnection, "127.0.0.1", port) for _ in range(concurrency)]
    return [connection.call for _, connection in made]


async def _httpx(what: str, port: int, concurrency: int, stack: AsyncExitStack) -> list[Call]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = await stack.enter_async_context(httpx.AsyncClient(limits=limits, timeout=60))
    url = f"http://127.0.0.1:{port}/invocations"

    async def post() -> int:
        (await client.post(url, json=PAYLOAD)).json()
        return 1

    async def events() -> int:
        count, rest = 0, b""
        async with client.stream("POST", url, json=PAYLOAD) as response:
            async for part in response.aiter_bytes():
                *found, rest = (rest + part).split(b"\n\n")
                count += sum(b"data: " in event for event in found)
        return count

    return [post if what == "posts" else events] * concurrency


async def session(who: str, port: int, stack: AsyncExitStack) -> SandboxSession:
    """Return a session of our client, over aiohttp or not."""
    from ppio_agent_client import AgentRuntimeClient, DefaultAioHttpClient

    http_client = await stack.enter_async_context(DefaultAioHttpClient()) if who == "aiohttp" else None
    client = AgentRuntimeClient(api_key="sk_bench", http_client=http_client)
    return (await stack.enter_async_context(client)).attach(f"http://127.0.0.1:{port}")


async def _ours(who: str, what: str, port: int, concurrency: int, stack: AsyncExitStack) -> list[Call]:
    attached = await session(who, port, stack)

    async def post() -> int:
        await attached.invoke(PAYLOAD)
        return 1

    async def events() -> int:
        async with attached.stream(PAYLOAD) as chunks:
            return sum([1 async for _ in chunks])

    return [post if what == "posts" else events] * concurrency


async def measure(who: str, what: str, port: int, concurrency: int, seconds: float) -> tuple[float, float]:
    """Return how many calls or events were done per second, and microseconds of processor time for each."""
    async with AsyncExitStack() as stack:
        if who in ("raw", "httpx"):
            calls = await (_raw if who == "raw" else _httpx)(what, port, concurrency, stack)
        else:
            calls = await _ours(who, what, port, concurrency, stack)
        done = 0

        async def loop(call: Call, until: float) -> None:
            nonlocal done
            while time.perf_counter() < until:
                count = await call()  # on a line of its own: `done += await …` reads `done` before it waits
                done += count

        await asyncio.gather(*(call() for call in calls))  # opens the connections
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(loop(call, began + seconds) for call in calls))
        return done / (time.perf_counter() - began), (time.process_time() - cpu) / done * 1e6


def main() -> None:
    """Run and print."""
    who, what, port, concurrency, seconds = sys.argv[1:]
    rate, cpu = asyncio.run(measure(who, what, int(port), int(concurrency), float(seconds)))
    sys.stdout.write(f"{rate} {cpu}\n")


if __name__ == "__main__":
    main()
