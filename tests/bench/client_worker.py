"""Calls an agent as fast as it can, with our client or with bare asyncio; a process of its own.

Usage: python -m tests.bench.client_worker raw|ours posts|events PORT CONCURRENCY SECONDS. Prints calls or events/s.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from .loads import PAYLOAD

_HEAD = b"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

Call = Callable[[], Awaitable[int]]


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


async def raw_posts(port: int) -> Call:
    """Return a call over a connection of its own."""
    _, connection = await asyncio.get_running_loop().create_connection(RawConnection, "127.0.0.1", port)
    return connection.call


async def raw_events(port: int) -> Call:
    """Return a call that reads a stream, splits it into events and finds the data of each, undecoded."""

    async def call() -> int:
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

    return call


async def our_posts(port: int) -> Call:
    """Return `session.invoke`."""
    session = _session(port)

    async def call() -> int:
        await session.invoke(PAYLOAD)
        return 1

    return call


async def our_events(port: int) -> Call:
    """Return `session.stream`, read to its end, decoded."""
    session = _session(port)

    async def call() -> int:
        async with session.stream(PAYLOAD) as chunks:
            return sum([1 async for _ in chunks])

    return call


_sessions: list[object] = []


def _session(port: int):  # type: ignore[no-untyped-def]  # imported late, so that raw runs without the client
    from ppio_agent_client import AgentRuntimeClient

    if not _sessions:
        _sessions.append(AgentRuntimeClient(api_key="sk_bench").attach(f"http://127.0.0.1:{port}"))
    return _sessions[0]


async def rate(who: str, what: str, port: int, concurrency: int, seconds: float) -> float:
    """Return how many calls or events were done per second."""
    make = {"raw posts": raw_posts, "raw events": raw_events, "ours posts": our_posts, "ours events": our_events}
    calls = [await make[f"{who} {what}"](port) for _ in range(concurrency)]
    done = 0

    async def loop(call: Call, until: float) -> None:
        nonlocal done
        while time.perf_counter() < until:
            done += await call()

    await asyncio.gather(*(call() for call in calls))  # opens the connections
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(loop(call, began + seconds))
    return done / (time.perf_counter() - began)


def main() -> None:
    """Run and print."""
    who, what, port, concurrency, seconds = sys.argv[1:]
    sys.stdout.write(f"{asyncio.run(rate(who, what, int(port), int(concurrency), float(seconds)))}\n")


if __name__ == "__main__":
    main()
