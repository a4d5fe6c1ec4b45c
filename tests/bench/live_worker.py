"""Passes live streams on, as a backend does for its browsers: reads chunks with our client and writes them as events.

Usage: python -m tests.bench.live_worker ours|aiohttp PORT STREAMS SECONDS. Prints the p99 of how late an event was
passed on, in milliseconds, and microseconds of processor time for each. Events of a server that does not say when they
are due are only counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack

from .client_worker import session
from .load.live import PAUSE_SECONDS

_OPENS_SECONDS = 1.0
"""Streams are opened in so long; what arrives meanwhile does not count."""


async def relay(who: str, port: int, streams: int, seconds: float) -> tuple[float, float]:
    """Return the p99 of how late events were, in seconds, and processor time for each, in seconds."""
    late: list[float] = []
    count = written = 0
    payload = {"prompt": "x", "count": int(seconds / PAUSE_SECONDS), "pause": PAUSE_SECONDS}
    async with AsyncExitStack() as stack:
        agent = await session(who, port, stack)
        settled = time.time() + _OPENS_SECONDS + 1

        async def pass_on(delay: float) -> None:
            nonlocal count, written
            await asyncio.sleep(delay)
            async with agent.stream(payload) as chunks:
                async for chunk in chunks:
                    written += len(b"data: %b\n\n" % json.dumps(chunk).encode())
                    count += 1
                    if "due" in chunk and (now := time.time()) > settled:
                        late.append(now - chunk["due"])

        tasks = [asyncio.create_task(pass_on(_OPENS_SECONDS * number / streams)) for number in range(streams)]
        cpu = time.process_time()
        await asyncio.gather(*tasks)
        cpu = time.process_time() - cpu
    late.sort()
    return late[int(len(late) * 0.99)] if late else 0.0, cpu / count


def main() -> None:
    """Run and print."""
    who, port, streams, seconds = sys.argv[1:]
    late, cpu = asyncio.run(relay(who, int(port), int(streams), float(seconds)))
    sys.stdout.write(f"{late * 1000} {cpu * 1e6}\n")


if __name__ == "__main__":
    main()
