"""Event streams: throughput, the first event, plain generators."""

from __future__ import annotations

from collections.abc import Sequence

from .loads import Streams, streams
from .rounds import Figure, measured_each, ratios
from .rows import Results
from .servers import OURS, RAW, App, Server


def warm_up(server: Server) -> None:
    """Let caches fill and threads start."""
    streams(server, 2, 500)


def _whole_or_tenth(server: Server, count: int, chunks: int) -> Streams:
    """Measure a tenth, and the whole unless that took long: some peers need a minute for what takes us a second."""
    tenth = streams(server, count, chunks // 10)
    return tenth if tenth.seconds > 1 else streams(server, count, chunks)


def run(peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    apps = [RAW, OURS, *peers]
    measures = {
        "stream-1": lambda server: _whole_or_tenth(server, 1, 100_000),
        "stream-100": lambda server: _whole_or_tenth(server, 100, 1000),
        "first-1": lambda server: streams(server, 1, 1, repeat=200 // server.app.burst_seconds**2),
    }
    found = measured_each(apps, "stream", measures, rounds, warm_up)
    results = {name: ratios(found[name], "raw", lambda burst: burst.rate) for name in ("stream-1", "stream-100")}
    results["first-1"] = ratios(found["first-1"], "raw", lambda burst: burst.first)
    results["first-100"] = ratios(found["stream-100"], "raw", lambda burst: burst.first)
    sync_measures = {
        "sync-stream-1": lambda server: _whole_or_tenth(server, 1, 100_000),
        "sync-stream-100": lambda server: _whole_or_tenth(server, 100, 1000),
    }
    sync = measured_each(apps, "sync_stream", sync_measures, rounds, warm_up)
    results |= {name: ratios(samples, "raw", lambda burst: burst.rate) for name, samples in sync.items()}
    sleep = {"": lambda server: streams(server, 20, 50, pause=0.01)}
    sleeping = measured_each([OURS, *peers], "sync_stream", sleep, 1, warm_up)[""]
    results["sync-stream-sleep"] = {
        name: Figure.of([burst.seconds for burst in bursts]) for name, bursts in sleeping.items() if bursts
    }
    return results
