"""What durability costs: `python -m tests.bench.durable_cost`.

A durable stream against a plain one in chunks/s, and small posts of protocol 1 against plain ones in requests/s and in
CPU time of the server; over a real socket, in pairs that alternate, as ratios. The target is that a plain stream is at
most 1.5 times as fast as a durable one.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import environment
from tests.support.raw_http import PROTOCOL_1, Connection, request

AGENT = """
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp(AgentConfig(host="127.0.0.1", port=0))


@app.entrypoint
async def handler(payload: dict):
    return tokens(payload["chunks"]) if "chunks" in payload else payload


async def tokens(count):
    for _ in range(count):
        yield "a token or two"


app.run()
"""
TARGET = 1.5


@contextmanager
def agent() -> Iterator[tuple[str, int]]:
    process = subprocess.Popen([sys.executable, "-c", AGENT], env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = next(line for line in process.stderr if "listens on " in line)
        yield line.split("listens on ")[1].strip(), process.pid
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def chunks_per_second(url: str, headers: dict[str, str], count: int) -> float:
    with Connection(url) as connection:
        connection.send(request({"chunks": count}, headers))
        began = time.perf_counter()
        connection.read_head()
        size = sum(map(len, connection.pieces()))
        seconds = time.perf_counter() - began
    assert size > count * len(b'data: "a token or two"\n\n')
    return count / seconds


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def posts(url: str, pid: int, headers: dict[str, str], count: int) -> tuple[float, float]:
    """Return requests/s over one connection, and the server's CPU microseconds for each."""
    message = request({"prompt": "x" * 180}, headers)
    with Connection(url) as connection:
        cpu, began = cpu_seconds(pid), time.perf_counter()
        for _ in range(count):
            connection.send(message)
            connection.read_answer()
        seconds = time.perf_counter() - began
        return count / seconds, (cpu_seconds(pid) - cpu) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--posts", type=int, default=2_000)
    options = parser.parse_args()
    with agent() as (url, pid):
        streams = [
            (chunks_per_second(url, {}, options.chunks), chunks_per_second(url, PROTOCOL_1, options.chunks))
            for _ in range(options.pairs)
        ]
        small = [
            (posts(url, pid, {}, options.posts), posts(url, pid, PROTOCOL_1, options.posts))
            for _ in range(options.pairs)
        ]
    ratio = statistics.median(plain / durable for plain, durable in streams)
    best = [max(column) for column in zip(*streams, strict=True)]
    print(
        f"stream: plain {best[0]:,.0f} chunks/s, durable {best[1]:,.0f}; plain / durable {ratio:.2f} (target {TARGET})"
    )
    speed = statistics.median(durable[0] / plain[0] for plain, durable in small)
    cpu = [statistics.median(pair[index][1] for pair in small) for index in (0, 1)]
    print(
        f"posts: protocol 1 at {speed:.2f} of plain requests/s; CPU {cpu[0]:.0f} us plain, {cpu[1]:.0f} us protocol 1"
    )


if __name__ == "__main__":
    main()
