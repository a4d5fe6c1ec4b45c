"""What each feature costs: the same agent with and without it."""

from __future__ import annotations

from collections.abc import Sequence

from .loads import posts, streams
from .rounds import measured, ratios
from .rows import Results
from .servers import OURS, App, Server

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
    return results | {name: {"ours": figure} for name, figure in ratios(flows, _PLAIN, lambda rate: rate).items()}
