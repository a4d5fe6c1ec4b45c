"""The client: calls and events per second against bare asyncio, construction, import."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .rounds import Figure
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


def run(_peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    results: Results = {}
    with Server(RAW.with_variables("raw", WHOLE_ENVELOPE="1")) as server:
        for count in (1, 64):
            results[f"client-post-c{count}"] = {"ours": _ratio("posts", server.port, count, rounds)}
    for framing in ("framed", "coalesced"):
        with _events(framing) as port:
            results[f"client-sse-{framing}"] = {"ours": _ratio("events", port, 1, rounds)}
    constructed = [float(_run("-c", _CONSTRUCT)) for _ in range(rounds)]
    results["client-second"] = {"ours": Figure.of(constructed)}
    results["import-client"] = {"ours": import_time("ppio_agent_client", rounds)}
    results["import-client-class"] = {"ours": import_time("ppio_agent_client.AgentRuntimeClient", rounds)}
    return results


def _ratio(what: str, port: int, concurrency: int, rounds: int) -> Figure:
    pairs = []
    for number in range(rounds):
        rates = {}
        for who in ("raw", "ours") if number % 2 else ("ours", "raw"):
            arguments = ("-m", "tests.bench.client_worker", who, what, str(port), str(concurrency), "0.7")
            rates[who] = float(_run(*arguments))
        pairs.append(rates["ours"] / rates["raw"])
    return Figure.of(pairs)


def _run(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    finished = subprocess.run(
        command, cwd=_ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    return finished.stdout


@contextmanager
def _events(framing: str) -> Iterator[int]:
    port = free_port()
    program = Path(__file__).parent / "load" / "events.py"
    process = subprocess.Popen([sys.executable, str(program), str(port), "50000", framing])
    try:
        for _ in range(500):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()
