"""What each feature costs: the same agent with and without it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory

from .loads import posts, streams
from .rounds import measured, ratios
from .rows import Results
from .servers import OURS, App, Server, free_port

_PLAIN = "ours"
_VARIANTS = {
    "no-metrics": {"PPIO_AGENT_ENABLE_METRICS": "false"},
    "access-log": {"PPIO_AGENT_ACCESS_LOG": "true"},
    "rate-limit": {"PPIO_AGENT_RATE_LIMIT": "900000000/60"},
    "max-concurrency": {"PPIO_AGENT_MAX_CONCURRENCY": "1000", "PPIO_AGENT_MAX_CONCURRENCY_PER_SESSION": "1000"},
    "api-keys": {"PPIO_AGENT_API_KEYS": "bench-key"},
    "middleware": {"FEATURES": "middleware"},
    "isolation": {"PPIO_AGENT_ISOLATE_HANDLERS": "true"},
}


def _post(server: Server) -> float:
    protocol = server.app.name == "protocol-1-post"
    return posts(server, 32, protocol=protocol, X_API_KEY="bench-key").rate


def run(_peers: Sequence[App], rounds: int) -> Results:
    """Measure the group: each feature takes turns with the agent without it, so that little time is between the two."""
    results: Results = {}
    for name, variables in {"protocol-1-post": {}, **_VARIANTS}.items():
        pair = [OURS, OURS.with_variables(name, **variables)]
        found = ratios(measured(pair, "echo", _post, rounds, _post), _PLAIN, lambda rate: rate)
        results |= {name: {"ours": figure} for name, figure in found.items()}
    durable = OURS.with_variables("protocol-1-stream")

    def chunks(server: Server) -> float:
        return streams(server, 1, 30_000, protocol=server.app is durable).rate

    flows = measured([OURS, durable], "stream", chunks, rounds, chunks)
    results |= {name: {"ours": figure} for name, figure in ratios(flows, _PLAIN, lambda rate: rate).items()}
    with event_stores() as stores:
        for name, address in stores.items():
            results |= _store(name, address, rounds)
    return results


def _store(name: str, address: str, rounds: int) -> Results:
    """Measure durable calls whose events are in a store, to those in memory."""
    stored = OURS.with_variables("stored", PPIO_AGENT_EVENT_STORE=address)

    def post(server: Server) -> float:
        return posts(server, 32, Prefer="respond-async").rate

    def chunks(server: Server) -> float:
        return streams(server, 1, 30_000, protocol=True).rate

    results: Results = {}
    for kind, mode, measure in (("post", "echo", post), ("stream", "stream", chunks)):
        found = ratios(measured([OURS, stored], mode, measure, rounds, measure), _PLAIN, lambda rate: rate)
        results |= {f"{name}-{kind}": {"ours": figure} for figure in found.values()}
    return results


@contextmanager
def event_stores() -> Iterator[dict[str, str]]:
    """Yield addresses of event stores by their kind; Redis where its server is installed."""
    with TemporaryDirectory() as folder:
        stores = {"sqlite": f"sqlite:///{folder}/events.db"}
        program = shutil.which("redis-server")
        if program is None:
            sys.stderr.write("redis-server is not installed: the store in Redis is left out\n")
            yield stores
            return
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
            yield stores | {"redis": f"redis://127.0.0.1:{port}/0"}
            server.terminate()
