"""Handlers that block, and what `/ping` does meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from .loads import Posts, pings, posts
from .rounds import Figure, Rounds, measured_each
from .rows import Results
from .servers import OURS, App, Server

_BLOCKS_SECONDS = 0.05
_SECONDS = 3


@dataclass(frozen=True)
class Blocked:
    """What a burst on blocking handlers showed: its share of what their number allows, and the p99 of `/ping` in ms."""

    share: float
    ping: float


def run(peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    measures = {str(count): _load(count) for count in (64, 256)}
    found = measured_each([OURS, *peers], "sync_sleep", measures, max(1, rounds // 2), lambda _: None)
    results: Results = {}
    for count, samples in found.items():
        results[f"blocking-{count}"] = _figures(samples, "share")
        results[f"ping-{count}"] = _figures(samples, "ping")
    isolated = OURS.with_variables("ours", PPIO_AGENT_ISOLATE_HANDLERS="true")
    blocked = measured_each([isolated], "block", {"": _load(2)}, 1, lambda _: None)[""]
    results["ping-isolated"] = _figures(blocked, "ping")
    return results


def _figures(samples: Rounds[Blocked], name: str) -> dict[str, Figure]:
    return {
        app: Figure.of([getattr(sample, name) for sample in measured]) for app, measured in samples.items() if measured
    }


class _load:  # noqa: N801  # a function with an argument of its own
    """Load a server with so many connections, and ping it meanwhile."""

    def __init__(self, connections: int) -> None:
        self._connections = connections

    def __call__(self, server: Server) -> Blocked:
        bursts: list[Posts] = []
        load = threading.Thread(target=lambda: bursts.append(posts(server, self._connections, seconds=_SECONDS)))
        load.start()
        latencies = pings(server.port, _SECONDS - 0.5)
        load.join()
        if not bursts:
            raise RuntimeError(f"{server.app.name} failed under load")
        ideal = self._connections / _BLOCKS_SECONDS
        return Blocked(bursts[0].rate / ideal, latencies[int(len(latencies) * 0.99)])
