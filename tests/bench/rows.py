"""The rows of the table: what is measured, and what it should be at least or at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .rounds import Figure

Results = dict[str, dict[str, Figure]]
"""Figures by row and server."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        key: Its name, for `--only`.
        what: The same in words.
        target: What it should be; None where nothing is promised.
        at_most: Less is better.
        unit: Empty for a ratio to the base.
    """

    key: str
    what: str
    target: float | None = None
    at_most: bool = False
    unit: str = ""

    def is_met(self, figure: Figure) -> bool:
        """Say whether the figure is what it should be."""
        if self.target is None:
            return True
        return figure.value <= self.target if self.at_most else figure.value >= self.target


GROUPS: Final[dict[str, list[Row]]] = {
    "posts": [
        Row("post-c1", "small POST, 1 connection, requests/s", 0.80),
        Row("post-c32", "small POST, 32 connections, requests/s", 0.75),
        Row("post-c256", "small POST, 256 connections, requests/s", 0.70),
        Row("cpu-c32", "processor time of a small POST, 32 connections", 1.4, at_most=True),
        Row("p99-c32", "p99 latency, 32 connections", 1.5, at_most=True),
        Row("sync-c32", "small POST to a plain def, 32 connections, requests/s", 0.80),
        Row("in-1mb", "1 MB request, requests/s", 1.6),
        Row("out-1mb", "1 MB answer, requests/s", 2.8),
    ],
    "streams": [
        Row("stream-1", "1 stream, chunks/s", 5),
        Row("stream-100", "100 streams, chunks/s", 7),
        Row("first-1", "time to the first event, 1 stream", 1.35, at_most=True),
        Row("first-100", "time to the first event, 100 streams that never pause", 0.12, at_most=True),
        Row("sync-stream-1", "1 stream of a plain generator, chunks/s", 3.5),
        Row("sync-stream-100", "100 streams of plain generators, chunks/s", 5),
        Row("sync-stream-sleep", "20 plain generators that sleep 50 x 10 ms", 0.6, at_most=True, unit="s"),
    ],
    "blocking": [
        Row("blocking-64", "def that blocks 50 ms, 64 connections, share of the ideal", 0.95, unit="share"),
        Row("blocking-256", "def that blocks 50 ms, 256 connections, share of the ideal", 0.75, unit="share"),
        Row("ping-64", "/ping meanwhile, 64 connections, p99", 10, at_most=True, unit="ms"),
        Row("ping-256", "/ping meanwhile, 256 connections, p99", 50, at_most=True, unit="ms"),
        Row(
            "ping-isolated",
            "/ping while async def blocks for 50 ms, 64 connections, p99; ours isolated",
            50,
            at_most=True,
            unit="ms",
        ),
    ],
    "start": [
        Row("cold-start", "process start to /ping", 1.25, at_most=True),
        Row("cold-start-bare", "process start to /ping, to a base without websockets and watchfiles", at_most=True),
        Row("import-runtime", "import ppio_agent_runtime, the package alone", 60, at_most=True, unit="ms"),
        Row("import-runtime-class", "import PPIOAgentRuntimeApp, the class", 60, at_most=True, unit="ms"),
        Row("memory-idle", "memory when idle", 38, at_most=True, unit="MB"),
        Row("growth-echo", "memory growth over 200,000 requests", 2, at_most=True, unit="MB"),
        Row("growth-overlap", "memory growth over 20,000 overlapping requests", 4, at_most=True, unit="MB"),
    ],
    "client": [
        Row("client-cpu-c1", "invoke, 1 at a time, processor time of a call", 0.8, at_most=True, unit="ms"),
        Row("client-to-httpx", "the same, to a plain httpx POST", 1.3, at_most=True),
        Row("client-cpu-c64", "invoke, 64 at a time, processor time of a call", 0.8, at_most=True, unit="ms"),
        Row("client-cpu-c256", "invoke, 256 at a time, processor time of a call", 0.8, at_most=True, unit="ms"),
        Row("aiohttp-cpu-c1", "[aiohttp] invoke, 1 at a time, processor time of a call", at_most=True, unit="ms"),
        Row("aiohttp-cpu-c64", "[aiohttp] invoke, 64 at a time, processor time", 0.5, at_most=True, unit="ms"),
        Row("aiohttp-cpu-c256", "[aiohttp] invoke, 256 at a time, processor time", 0.5, at_most=True, unit="ms"),
        Row("client-sse-framed", "stream, an event in each HTTP chunk, events/s", 0.05),
        Row("client-sse-coalesced", "stream, 16 KB HTTP chunks, events/s", 0.20),
        Row("aiohttp-sse-framed", "[aiohttp] stream, an event in each HTTP chunk, events/s", 0.30),
        Row("aiohttp-sse-coalesced", "[aiohttp] stream, 16 KB HTTP chunks, events/s"),
        Row("client-second", "construct a second one", 0.1, at_most=True, unit="ms"),
        Row("import-client", "import ppio_agent_client, the package alone", 15, at_most=True, unit="ms"),
        Row("import-client-class", "import AgentRuntimeClient, the class", at_most=True, unit="ms"),
        Row("import-client-httpx", "import the client with httpx", 130, at_most=True, unit="ms"),
    ],
    "live": [
        Row("live-plain", "live streams of 50 events/s from one agent, none 100 ms late (p99)", 2000, unit="streams"),
        Row("live-durable", "the same, durable (protocol 1)", 1000, unit="streams"),
        Row("relay-live-ours", "live streams that one process passes on with the client", 400, unit="streams"),
        Row("relay-live-aiohttp", "[aiohttp] the same", 1000, unit="streams"),
        Row(
            "relay-cpu-ours",
            "100 streams passed on, processor time of an event",
            20,
            at_most=True,
            unit="us",
        ),
        Row("relay-cpu-aiohttp", "[aiohttp] the same", 6, at_most=True, unit="us"),
        Row("first-token-p50", "what all adds to the first token, 50 streams, local sandbox, p50", 1.5, True, "ms"),
        Row("first-token-p99", "the same, p99", 5, at_most=True, unit="ms"),
        Row("sandbox-ready", "a local sandbox, to the same agent started bare", 1.3, at_most=True),
        Row("ping-10mb", "/ping while results of 10 MB are made and read, p99", 50, at_most=True, unit="ms"),
        Row("idle-durable", "memory of one of 8,000 idle durable streams", 30, at_most=True, unit="KB"),
    ],
    "features": [
        Row("protocol-1-post", "durable POST (protocol 1)"),
        Row("protocol-1-stream", "durable stream (protocol 1), chunks/s"),
        Row("sqlite-post", "submitted POST (202), event store in SQLite, to the same in memory"),
        Row("sqlite-stream", "durable stream, event store in SQLite, to the same in memory, chunks/s"),
        Row("redis-post", "submitted POST (202), event store in Redis, to the same in memory"),
        Row("redis-stream", "durable stream, event store in Redis, to the same in memory, chunks/s"),
        Row("no-metrics", "without metrics"),
        Row("access-log", "access log"),
        Row("rate-limit", "rate limit"),
        Row("max-concurrency", "concurrency limit"),
        Row("api-keys", "API keys"),
        Row("middleware", "one @app.middleware function"),
        Row("isolation", "isolate_handlers"),
    ],
}
"""In `features` the base is the agent without the feature; in all other groups it is the raw server or client."""
