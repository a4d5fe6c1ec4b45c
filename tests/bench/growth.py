"""How it grows: with connections, with streams, with sessions; and where the time of a new sandbox goes."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .loads import posts, streams
from .report import Curve, Growth
from .rounds import in_turn
from .servers import OURS, RAW, App, Server

_CONNECTIONS = (1, 4, 16, 64, 256, 1024)
_STREAMS = (1, 10, 100, 1000)
_IDLE = 1000
_AGENT = """
import asyncio
import time

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()

@app.entrypoint
async def first_token(payload: dict):
    began = time.perf_counter()
    await asyncio.sleep(payload["pause"])
    yield time.perf_counter() - began

if __name__ == "__main__":
    app.run()
"""


def grow(rounds: int) -> Growth:
    """Measure all curves."""
    most = min(rounds, 3)
    return {
        "requests/s by connections": _requests(most),
        "chunks/s by streams": _chunks(most),
        "memory": _memory(),
        "a local sandbox, ms": asyncio.run(_sandbox(most)),
    }


def _requests(rounds: int) -> dict[str, Curve]:
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(app)) for app in (RAW, OURS)]
        return _curves(servers, _CONNECTIONS, rounds, lambda server, count: posts(server, count).rate)


def _chunks(rounds: int) -> dict[str, Curve]:
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(app, "stream")) for app in (RAW, OURS)]
        return _curves(
            servers, _STREAMS, rounds, lambda server, count: streams(server, count, max(200, 30_000 // count)).rate
        )


def _curves(
    servers: list[Server], counts: Sequence[int], rounds: int, rate: Callable[[Server, int], float]
) -> dict[str, Curve]:
    """Return the best of some rounds for each server and count; the servers take turns."""
    best: dict[str, dict[int, float]] = {server.app.name: {} for server in servers}
    for count in counts:
        for number in range(rounds):
            for server in in_turn(servers, number):
                found = best[server.app.name]
                found[count] = max(found.get(count, 0), rate(server, count))
    return {name: list(found.items()) for name, found in best.items()}


def _memory() -> dict[str, Curve]:
    """Return KB for each of many idle streams, durable or not, and for each session that was served once."""
    sessions = OURS.with_variables("ours", PPIO_AGENT_MAX_CONCURRENCY_PER_SESSION="1")
    return {
        "KB per idle stream": [(_IDLE, idle_streams(OURS, ""))],
        "KB per idle durable stream": [(_IDLE, idle_streams(OURS, "PPIO-Agent-Protocol: 1\r\n"))],
        "KB per session served": [(_IDLE, _served_sessions(sessions))],
    }


def _request(headers: str, **payload: object) -> bytes:
    body = json.dumps({"prompt": "x", **payload})
    return f"POST /invocations HTTP/1.1\r\nHost: bench\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def idle_streams(app: App, headers: str, count: int = _IDLE) -> float:
    """Return by how many KB each of so many idle streams makes the server grow."""
    with Server(app, "stream") as server, ExitStack() as stack:
        streams(server, 10, 100)
        before = server.megabytes()
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(count)]
        for connection in held:
            connection.sendall(_request(headers, count=1_000_000, pause=0.5))
        for connection in held:
            assert connection.recv(65536)  # its first event
        return (server.megabytes() - before) * 1024 / count


def _served_sessions(app: App) -> float:
    with Server(app) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        posts(server, 16)
        before = server.megabytes()
        for number in range(_IDLE * 5):
            connection.sendall(_request(f"X-PPIO-Session-Id: session-{number}\r\n"))
            assert connection.recv(65536)
        return (server.megabytes() - before) * 1024 / (_IDLE * 5)


@dataclass(frozen=True)
class SandboxTimes:
    """The parts of a local sandbox's start, and what the way through it adds to first tokens, all in seconds.

    Attributes:
        interpreter: An interpreter that does nothing.
        bare: The same agent, started without a sandbox, to its first `/ping`.
        created: `create_session`.
        answered: The first call after it.
        added_to_first_token: How much later than its handler made it a caller has the first token, for each stream.
    """

    interpreter: float
    bare: float
    created: float
    answered: float
    added_to_first_token: list[float]


async def sandbox_times(folder: Path, *, streams: int = 0, repeat: int = 0) -> SandboxTimes:
    """Start a local sandbox, and read so many streams at once from it, so many times each."""
    from ppio_agent_client import AgentRuntimeClient, LocalSandboxProvider

    agent = folder / "agent"
    agent.mkdir(exist_ok=True)
    (agent / "main.py").write_text(_AGENT, encoding="utf-8")
    interpreter = _seconds_of(sys.executable, "-c", "pass")
    with Server(OURS) as server:
        bare = server.ready_seconds
    added: list[float] = []
    async with AgentRuntimeClient(provider=LocalSandboxProvider(folder / "home")) as client:
        began = time.perf_counter()
        async with await client.create_session(str(agent)) as session:
            created = time.perf_counter() - began
            await session.invoke({"pause": 0})
            answered = time.perf_counter() - began - created

            async def read(number: int) -> None:
                for turn in range(repeat):
                    spread = (number * 7 + turn) % streams / streams
                    sent = time.perf_counter()
                    async with session.stream({"pause": 0.5 + 0.5 * spread}) as chunks:
                        made = await anext(chunks)
                        added.append(time.perf_counter() - sent - made)

            await asyncio.gather(*(read(number) for number in range(streams)))
    return SandboxTimes(interpreter, bare, created, answered, added[streams:])  # those that open connections left out


async def _sandbox(rounds: int) -> dict[str, Curve]:
    """Return the parts of the time from `create_session` to the first answer, in milliseconds; the fastest of some."""
    with tempfile.TemporaryDirectory() as folder:
        found = [await sandbox_times(Path(folder)) for _ in range(rounds)]
    parts = {
        "interpreter": [times.interpreter for times in found],
        "imports and server": [times.bare - times.interpreter for times in found],
        "sandbox": [times.created - times.bare for times in found],
        "first answer": [times.answered for times in found],
    }
    return {name: [(0, min(seconds) * 1000)] for name, seconds in parts.items()}


def _seconds_of(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began
