"""Does memory stay flat under everything at once: echoes, streams, callers that hang up, refusals, busy sessions?

    python -m tests.bench.soak                       # 200,000 requests, a few minutes
    python -m tests.bench.soak --requests 3000       # what the tests run

For Linux. One agent in a process of its own, with metrics, a rate limit and a queue for each session. Prints its
resident memory at the start (after a warm-up, which loads what is loaded late), in the middle and at the end, and what
became of the requests. Exits 1 if something is left over at the end (an invocation in flight, an open connection) or an
answer was not the expected one; gives up after `--seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import sys
import time
from collections import Counter
from typing import Any

from .agents import Agent, agent
from .proc import megabytes, open_files

AGENT = """
import asyncio, time
from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

async def chunks(count):
    for number in range(count):
        yield "x" * 200
        if number % 20 == 0:
            await asyncio.sleep(0)

def threaded_chunks(count):
    for number in range(count):
        yield "x" * 200

async def slow():
    await asyncio.sleep(60)

def work():
    time.sleep(0.001)
    return "worked"

@app.entrypoint
async def agent(request):
    if "sleep" in request:
        return await slow()
    if "fail" in request:
        raise ValueError("on purpose")
    if "chunks" in request:
        return chunks(request["chunks"])
    if "threaded" in request:
        return threaded_chunks(request["threaded"])
    return request
"""
SETTINGS = {
    "PPIO_AGENT_RATE_LIMIT": '{"max_requests": 900000000, "key": "session"}',
    "PPIO_AGENT_MAX_CONCURRENCY": "1000",
    "PPIO_AGENT_MAX_CONCURRENCY_PER_SESSION": "1",
    "PPIO_AGENT_WHEN_BUSY": "queue",
}
MIX = {"echo": 70, "stream": 8, "threaded": 4, "json": 4, "hang up": 4, "leave": 4, "bad": 3, "fail": 3}
"""What is asked for, in percent."""
EXPECTED = {"echo": 200, "stream": 200, "threaded": 200, "json": 200, "bad": 400, "fail": 500}


class Caller:
    """One of many callers at once; keeps its connection where the protocol allows it."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self) -> tuple[str, int]:
        """Send one request; return what it was and the status of its answer, 0 where the caller left before it."""
        kind = self._random.choices(list(MIX), list(MIX.values()))[0]
        body, accept = self._ask(kind)
        reader, writer = await self._connected()
        session = self._random.randrange(2000)
        writer.write(
            b"POST /invocations HTTP/1.1\r\nHost: agent\r\nX-PPIO-Session-Id: s%d\r\n%bContent-Length: %d\r\n\r\n%b"
            % (session, accept, len(body), body)
        )
        if kind == "leave":
            await asyncio.sleep(self._random.random() * 0.05)
            await self.close()
            return kind, 0
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if kind == "hang up":
            await reader.read(300)
            await self.close()
            return kind, 0
        if length := re.search(rb"content-length: (\d+)", head):
            await reader.readexactly(int(length[1]))
        else:
            await reader.readuntil(b"0\r\n\r\n")
        return kind, status

    async def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    def _ask(self, kind: str) -> tuple[bytes, bytes]:
        questions: dict[str, dict[str, Any]] = {
            "stream": {"chunks": self._random.randrange(200)},
            "threaded": {"threaded": self._random.randrange(200)},
            "json": {"chunks": 50},
            "hang up": {"chunks": 5000},
            "leave": {"sleep": True},
            "fail": {"fail": True},
        }
        asked = questions.get(kind, {"prompt": "x" * 180})
        accept = b"Accept: application/json\r\n" if kind == "json" else b""
        return b"{" if kind == "bad" else json.dumps(asked).encode(), accept

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        return self._streams


async def load(port: int, requests: int, callers: int, seed: int) -> Counter[tuple[str, int]]:
    """Send so many requests; return how many of each kind got which status."""
    seen: Counter[tuple[str, int]] = Counter()
    left = iter(range(requests))

    async def one(number: int) -> None:
        caller = Caller(port, seed + number)
        for _ in left:
            seen[await caller.call()] += 1
        await caller.close()

    await asyncio.gather(*(one(number) for number in range(callers)))
    return seen


async def settle(target: Agent, idle_files: int) -> str:
    """Wait until nothing is in flight and every connection is gone; return what is left over, if something is."""
    left = ""
    for _ in range(300):
        reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
        writer.write(b"GET /ping HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")
        ping = await reader.read()
        writer.close()
        left = "" if b'"Healthy"' in ping else "invocations are in flight"
        beyond = open_files(target.pid) - idle_files - 1  # the one that asks
        if not left and beyond > 0:
            left = f"{beyond} files or sockets are open"
        if not left:
            break
        await asyncio.sleep(0.1)
    return left


def soak(requests: int, callers: int) -> int:
    """Run it; return the exit code."""
    wrong: Counter[tuple[str, int]] = Counter()
    with agent(AGENT, SETTINGS) as target:
        asyncio.run(settle(target, sys.maxsize))  # the first answer: the event loop has opened what it needs
        idle_files = open_files(target.pid)
        asyncio.run(load(target.port, max(500, requests // 10), callers, seed=1))
        figures = {"start": megabytes(target.pid)}
        began = time.perf_counter()
        seen: Counter[tuple[str, int]] = Counter()
        for half, name in enumerate(("middle", "end")):
            seen += asyncio.run(load(target.port, requests // 2, callers, seed=1000 * (half + 2)))
            figures[name] = megabytes(target.pid)
        elapsed = time.perf_counter() - began
        left = asyncio.run(settle(target, idle_files))
    for (kind, status), count in sorted(seen.items()):
        if status not in (0, EXPECTED.get(kind)):
            wrong[kind, status] += count
        print(f"{kind:10}{status or 'left':>6}{count:10}")
    print(f"{sum(seen.values())} requests in {elapsed:.0f} s")
    print("  ".join(f"{name} {megabytes:.1f} MB" for name, megabytes in figures.items()))
    print(
        f"growth {figures['end'] - figures['start']:+.1f} MB, second half {figures['end'] - figures['middle']:+.1f} MB"
    )
    if left:
        print(f"left over: {left}")
    if wrong:
        print(f"unexpected: {dict(wrong)}")
    return 1 if left or wrong else 0


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--callers", type=int, default=64, help="how many at once")
    parser.add_argument("--seconds", type=int, default=1800, help="give up after so long")
    options = parser.parse_args()
    signal.alarm(options.seconds)
    return soak(options.requests, options.callers)


if __name__ == "__main__":
    sys.exit(main())
