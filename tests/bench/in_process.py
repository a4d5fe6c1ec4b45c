"""One POST without a network: from the bytes that arrive to the bytes that leave, in microseconds or instructions.

    python -m tests.bench.in_process                  # every variant, microseconds of processor time, the best of nine
    python -m tests.bench.in_process --instructions   # counted by valgrind: slow, and the same on a busy machine
    python -m tests.bench.in_process agent            # one of them

`raw` is bare ASGI on uvicorn's protocol, `agent` the whole runtime there; the others are the agent without something,
so that a difference is what that costs, or with something that a caller asks for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import subprocess
import sys
import tempfile
import time
from typing import Any, Final

import uvloop
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, configure_logging

from .loads import SMALL

VARIANTS: Final[dict[str, dict[str, Any]]] = {
    "raw": {},
    "agent": {},
    "without metrics": {"enable_metrics": False},
    "without CORS": {"cors_origins": []},
    "protocol 1": {},
    "rate limit": {"rate_limit": "900000000/60"},
    "concurrency": {"max_concurrency": 1000},
    "API keys": {"api_keys": ["bench-key"]},
    "access log": {"access_log": True},
    "access log, JSON": {"access_log": True, "log_format": "json"},
    "middleware": {},
}


class Nowhere(asyncio.Transport):
    """A connection whose other end is nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: object) -> None:
        """Count."""
        self.writes += 1

    def is_closing(self) -> bool:
        """It never is."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return an address."""
        return ("127.0.0.1", 5) if name in ("peername", "sockname") else default


async def handler(payload: dict[str, Any]) -> dict[str, Any]:
    """Answer at once."""
    return {"reply": payload["prompt"][:16], "ok": True}


async def around(request: Any, call_next: Any) -> Any:
    """Change nothing."""
    return await call_next(request)


async def bare(_scope: Any, receive: Any, send: Any) -> None:
    """JSON, the handler, JSON."""
    message = await receive()
    body = json.dumps({"result": await handler(json.loads(message["body"])), "status": "success"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def connection(variant: str) -> tuple[HttpToolsProtocol, ServerState, Nowhere]:
    """Return a new connection to the variant."""
    app: Any = bare
    if variant != "raw":
        app = PPIOAgentRuntimeApp(AgentConfig(**VARIANTS[variant]))
        app.entrypoint(handler)
        if variant == "middleware":
            app.middleware(around)
        if app.config.access_log:
            configure_logging(app.config.log_format)
            logging.root.handlers[0].setStream(tempfile.TemporaryFile("w"))  # type: ignore[attr-defined]  # noqa: SIM115  # till the end
    config = Config(app, ws="none", interface="asgi3", lifespan="off", access_log=False, proxy_headers=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Sun, 22 Nov 2026 19:56:47 GMT")]
    protocol, transport = HttpToolsProtocol(config, state, {}), Nowhere()
    protocol.connection_made(transport)
    return protocol, state, transport


async def answer(variant: str, count: int, repeat: int) -> tuple[float, float]:
    """Let so many requests be answered; return the best microseconds for one, and how many writes it was."""
    protocol, state, transport = connection(variant)
    extra = b"X-API-Key: bench-key\r\n" if variant == "API keys" else b""
    extra += b"PPIO-Agent-Protocol: 1\r\n" if variant == "protocol 1" else b""
    head = (
        b"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n"
    )
    request = head % (extra, len(SMALL)) + SMALL

    async def burst(requests: int) -> None:
        for _ in range(requests):
            wanted = state.total_requests + 1
            protocol.data_received(request)
            while state.total_requests < wanted:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0)

    await burst(200)
    best = float("inf")
    for _ in range(repeat):
        began = time.process_time_ns()
        await burst(count)
        best = min(best, (time.process_time_ns() - began) / count / 1000)
    return best, transport.writes / state.total_requests


def instructions(variant: str) -> float:
    """Return the instructions for one request: the difference between two runs, so that the start is not counted."""
    counted = []
    for count in (200, 1200):
        program = f"from tests.bench.in_process import measure; measure({variant!r}, {count}, 1)"
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", program]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stderr
        counted.append(int(re.findall(r"Collected : (\d+)", printed)[0]))
    return (counted[1] - counted[0]) / 1000


def measure(variant: str, count: int = 4000, repeat: int = 9) -> tuple[float, float]:
    """Run `answer` on an event loop of its own."""
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(answer(variant, count, repeat))
    finally:
        loop.close()


def main() -> None:
    """Print a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS), metavar="VARIANT", help=", ".join(VARIANTS))
    parser.add_argument("--instructions", action="store_true")
    options = parser.parse_args()
    for variant in options.variants:
        if options.instructions:
            sys.stdout.write(f"{variant:18}{instructions(variant):10,.0f} instructions\n")
        else:
            micros, writes = measure(variant)
            sys.stdout.write(f"{variant:18}{micros:8.1f} us{writes:8.1f} writes\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
