"""Handlers that block, and what `/ping` does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from .loads import pings, posts
from .rounds import Figure, Rounds, measured_each
from .rows import Results
from .servers import OURS, App, Server

_BLOCKS_SECONDS = 0.05
_SECONDS = 3
_SETTLED_SECONDS = 0.5


@dataclass(frozen=True)
class Blocked:
    """What a burst on blocking handlers showed: its share of what their number allows, and the p99 of `/ping` in ms."""

    share: float
    ping: float


def run(peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    measures = {str(count): _load(count) for count in (64, 256)}
    found = measured_each([OURS, *peers], "sync_sleep", measures, (rounds + 1) // 2, lambda _: None)
    results: Results = {}
    for count, samples in found.items():
        results[f"blocking-{count}"] = _figures(samples, lambda blocked: blocked.share)
        results[f"ping-{count}"] = _figures(samples, lambda blocked: blocked.ping)
    isolated = OURS.with_variables("ours", PPIO_AGENT_ISOLATE_HANDLERS="true")
    blocked = measured_each([isolated, *peers], "block", {"": _load(64)}, 1, lambda _: None)[""]
    results["ping-isolated"] = _figures(blocked, lambda blocked: blocked.ping)
    return results


def _figures(samples: Rounds[Blocked], value: Callable[[Blocked], float]) -> dict[str, Figure]:
    return {app: Figure.of([value(sample) for sample in measured]) for app, measured in samples.items() if measured}


def _load(connections: int) -> Callable[[Server], Blocked]:
    """Return what loads a server with so many connections, and pings it once they are there."""

    def measure(server: Server) -> Blocked:
        with ThreadPoolExecutor(1) as beside:
            load = beside.submit(posts, server, connections, seconds=_SECONDS)
            time.sleep(_SETTLED_SECONDS)
            latencies = pings(server.port, _SECONDS - 2 * _SETTLED_SECONDS)
        ideal = connections / _BLOCKS_SECONDS
        return Blocked(load.result().rate / ideal, latencies[int(len(latencies) * 0.99)])

    return measure
