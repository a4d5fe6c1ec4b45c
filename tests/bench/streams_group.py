"""Event streams: throughput, the first event, plain generators."""

from __future__ import annotations

from collections.abc import Sequence

from .loads import streams
from .rounds import Figure, measured_each, ratios
from .rows import Results
from .servers import OURS, RAW, App, Server


def warm_up(server: Server) -> None:
    """Let caches fill and threads start."""
    streams(server, 2, 500)


def _chunks(server: Server) -> int:
    return 1000 if server.app in (RAW, OURS) else 60  # some peers need a minute for what takes us a second


def run(peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    apps = [RAW, OURS, *peers]
    throughput = {
        "stream-1": lambda server: streams(server, 1, 100 * _chunks(server)),
        "stream-100": lambda server: streams(server, 100, _chunks(server)),
    }
    first = {
        "first-1": lambda server: streams(server, 1, 1, repeat=100),
        "first-100": lambda server: streams(server, 100, 1000),
    }
    found = measured_each(apps, "stream", throughput | first, rounds, warm_up)
    results = {name: ratios(found[name], "raw", lambda burst: burst.rate) for name in throughput}
    results |= {name: ratios(found[name], "raw", lambda burst: burst.first) for name in first}
    sync = measured_each(apps, "sync_stream", throughput, rounds, warm_up)
    results |= {f"sync-{name}": ratios(sync[name], "raw", lambda burst: burst.rate) for name in throughput}
    sleep = {"": lambda server: streams(server, 20, 50, pause=0.01)}
    sleeping = measured_each([OURS, *peers], "sync_stream", sleep, 1, warm_up)[""]
    results["sync-stream-sleep"] = {
        name: Figure.of([burst.seconds for burst in bursts]) for name, bursts in sleeping.items() if bursts
    }
    return results
