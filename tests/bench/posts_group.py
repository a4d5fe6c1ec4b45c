"""Small posts, plain functions, large bodies."""

from __future__ import annotations

from collections.abc import Sequence

from .loads import BIG_ANSWER, BIG_REQUEST, posts
from .rounds import measured, measured_each, ratios
from .rows import Results
from .servers import OURS, RAW, App, Server


def warm_up(server: Server) -> None:
    """Let caches fill and threads start."""
    posts(server, 16)


def run(peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    apps = [RAW, OURS, *peers]
    measures = {
        "post-c1": lambda server: posts(server, 1),
        "post-c32": lambda server: posts(server, 32),
        "post-c256": lambda server: posts(server, 256),
        "in-1mb": lambda server: posts(server, 8, BIG_REQUEST),
        "out-1mb": lambda server: posts(server, 8, BIG_ANSWER),
    }
    found = measured_each(apps, "echo", measures, rounds, warm_up)
    results = {name: ratios(samples, "raw", lambda burst: burst.rate) for name, samples in found.items()}
    results["cpu-c32"] = ratios(found["post-c32"], "raw", lambda burst: burst.cpu)
    results["p99-c32"] = ratios(found["post-c32"], "raw", lambda burst: burst.p99)
    sync = measured(apps, "sync_echo", lambda server: posts(server, 32), rounds, warm_up)
    results["sync-c32"] = ratios(sync, "raw", lambda burst: burst.rate)
    return results
