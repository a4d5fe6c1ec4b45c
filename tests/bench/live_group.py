"""What users of live token streams feel: how many there may be, how late they are, what holds up `/ping`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .client_group import CALLERS, canned_events, run_program
from .growth import idle_streams, sandbox_times
from .loads import BIGGER_ANSWER, pings, posts
from .rounds import Figure
from .rows import Results
from .servers import OURS, App, Server

_SERVED = (250, 500, 1000, 2000, 3000, 4000)
_RELAYED = (100, 200, 400, 700, 1000, 1500)
_LATE_MILLISECONDS = 100
_SECONDS = 4.0
_LIVE = Path(__file__).parent / "load" / "live.py"


def run(_peers: Sequence[App], rounds: int) -> Results:
    """Measure the group. A single round takes the first two steps of each ladder."""
    most = 2 if rounds == 1 else len(_SERVED)
    results: Results = {}
    for name, protocol in (("plain", 0), ("durable", 1)):
        with Server(OURS, "live") as server:
            results[f"live-{name}"] = _most(_SERVED[:most], lambda count: _late(server, count, protocol))  # noqa: B023
    for who in CALLERS:
        with Server(OURS, "live") as server:
            results[f"relay-live-{who}"] = _most(_RELAYED[:most], lambda count: _relay(who, server.port, count)[0])  # noqa: B023
        with canned_events("framed", 1000) as port:
            costs = [_relay(who, port, 100)[1] for _ in range(rounds)]
        results[f"relay-cpu-{who}"] = {"ours": Figure.of(costs)}
    results["ping-10mb"] = {"ours": _ping_beside_large_answers()}
    idle = idle_streams(OURS, "PPIO-Agent-Protocol: 1\r\n", 200 if rounds == 1 else 8000)
    results["idle-durable"] = {"ours": Figure.of([idle])}
    return results | asyncio.run(_local(rounds))


def _most(steps: Iterable[int], late: Callable[[int], float]) -> dict[str, Figure]:
    """Return the largest number of streams of which 99 % of the events are in time; 0 if none is."""
    found = 0
    for count in steps:
        try:
            milliseconds = late(count)
        except (subprocess.SubprocessError, ValueError):  # it fell behind so far that it gave up
            break
        sys.stderr.write(f"  {count} live streams: p99 {milliseconds:.1f} ms late\n")
        if milliseconds > _LATE_MILLISECONDS:
            break
        found = count
    return {"ours": Figure.of([found])}


def _late(server: Server, count: int, protocol: int) -> float:
    command = [sys.executable, str(_LIVE), str(server.port), str(count), str(_SECONDS), str(protocol)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=_SECONDS * 10).stdout
    return float(printed.split()[0])


def _relay(who: str, port: int, count: int) -> tuple[float, float]:
    printed = run_program("-m", "tests.bench.live_worker", who, str(port), str(count), str(_SECONDS))
    late, cpu = printed.split()
    return float(late), float(cpu)


def _ping_beside_large_answers() -> Figure:
    with Server(OURS) as server, ThreadPoolExecutor(1) as beside:
        load = beside.submit(posts, server, 4, BIGGER_ANSWER, seconds=5)
        latencies = pings(server.port, 4)
        load.result()
    return Figure.of([latencies[int(len(latencies) * 0.99)]])


async def _local(rounds: int) -> Results:
    """Measure a local sandbox: its start, and what the way through it adds to the first token."""
    ready, first = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            times = await sandbox_times(Path(folder), streams=50, repeat=2 if rounds == 1 else 6)
            ready.append(times.created / times.bare)
            first += [seconds * 1000 for seconds in times.added_to_first_token]
    first.sort()
    p50, p99 = first[len(first) // 2], first[int(len(first) * 0.99)]
    return {
        "sandbox-ready": {"ours": Figure.of(ready)},
        "first-token-p50": {"ours": Figure.of([p50])},
        "first-token-p99": {"ours": Figure.of([p99])},
    }
