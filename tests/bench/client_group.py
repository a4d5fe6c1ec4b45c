"""The client: processor time of a call beside plain httpx, events per second, construction, import."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from .rounds import Figure, in_turn
from .rows import Results
from .servers import RAW, App, Server, environment, free_port
from .start_group import import_time

_ROOT = Path(__file__).parents[2]
_CONSTRUCT = """
import time
from ppio_agent_client import AgentRuntimeClient
AgentRuntimeClient(api_key="sk_bench")
times = []
for _ in range(50):
    began = time.perf_counter()
    AgentRuntimeClient(api_key="sk_bench")
    times.append(time.perf_counter() - began)
print(sorted(times)[25] * 1000)
"""
CALLERS = ["ours", *(["aiohttp"] if find_spec("httpx_aiohttp") else [])]
"""Our client, and the same over aiohttp where that is installed."""

Bursts = dict[str, list[tuple[float, float]]]
"""Of each caller: calls or events per second, and microseconds of processor time for each."""


def run(_peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    results: Results = {}
    with Server(RAW.with_variables("raw", WHOLE_ENVELOPE="1")) as server:
        for count in (1, 64, 256):
            found = _bursts("posts", server.port, count, rounds, ["raw", "httpx", *CALLERS])
            results |= _cpu(found, f"c{count}")
            if count == 1:
                results["client-to-httpx"] = {"ours": _of_pairs(found, "ours", "httpx", 1)}
    for framing in ("framed", "coalesced"):
        with canned_events(framing) as port:
            found = _bursts("events", port, 1, rounds, ["raw", "httpx", *CALLERS])
        httpx = {"httpx": _of_pairs(found, "httpx", "raw", 0)}
        results[f"client-sse-{framing}"] = {"ours": _of_pairs(found, "ours", "raw", 0), **httpx}
        if "aiohttp" in found:
            results[f"aiohttp-sse-{framing}"] = {"ours": _of_pairs(found, "aiohttp", "raw", 0), **httpx}
    constructed = [float(run_program("-c", _CONSTRUCT)) for _ in range(rounds)]
    results["client-second"] = {"ours": Figure.of(constructed)}
    results["import-client"] = {"ours": import_time("ppio_agent_client", rounds)}
    results["import-client-class"] = {"ours": import_time("ppio_agent_client.AgentRuntimeClient", rounds)}
    results["import-client-httpx"] = {"ours": import_time("ppio_agent_client.DefaultHttpxClient", rounds)}
    return results


def _bursts(what: str, port: int, concurrency: int, rounds: int, callers: list[str]) -> Bursts:
    found: Bursts = {who: [] for who in callers}
    for number in range(rounds):
        for who in in_turn(callers, number):
            arguments = ("-m", "tests.bench.client_worker", who, what, str(port), str(concurrency), "0.7")
            rate, cpu = run_program(*arguments).split()
            found[who].append((float(rate), float(cpu)))
    return found


def _cpu(found: Bursts, count: str) -> Results:
    """Return milliseconds of processor time for a call: ours beside plain httpx, and ours over aiohttp."""
    figures = {who: Figure.of([cpu / 1000 for _, cpu in bursts]) for who, bursts in found.items()}
    results: Results = {f"client-cpu-{count}": {name: figures[name] for name in ("ours", "httpx")}}
    if "aiohttp" in figures:
        results[f"aiohttp-cpu-{count}"] = {"ours": figures["aiohttp"], "httpx": figures["httpx"]}
    return results


def _of_pairs(found: Bursts, who: str, base: str, what: int) -> Figure:
    pairs = zip(found[who], found[base], strict=True)
    return Figure.of([burst[what] / reference[what] for burst, reference in pairs])


def run_program(*arguments: str) -> str:
    """Return what a Python program prints, which runs where this project is."""
    command = [sys.executable, *arguments]
    finished = subprocess.run(
        command, cwd=_ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    return finished.stdout


@contextmanager
def canned_events(framing: str, count: int = 50_000) -> Iterator[int]:
    """Run the server that costs nothing, with so many events in each stream; yield its port."""
    port = free_port()
    program = Path(__file__).parent / "load" / "events.py"
    process = subprocess.Popen([sys.executable, str(program), str(port), str(count), framing])
    try:
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()
