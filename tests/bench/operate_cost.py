"""What it costs to be watched and limited, and how fast `/ping` answers under load. Prints figures, judges nothing.

    python -m tests.bench.operate_cost [--seconds 1.0] [--rounds 5]

Every variant is an agent in a process of its own; all are up at once, and bursts of load go to one after the other, so
that a busy machine harms all alike. The ratios are medians over the rounds, each against the burst of `all off` in the
same round. CPU is user and system time of the agent's process.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from .agents import Agent, agent
from .proc import cpu_seconds

AGENT = """
import asyncio, time
from ppio_agent_runtime import PPIOAgentRuntimeApp
app = PPIOAgentRuntimeApp()

async def endless():
    yield "first"
    await asyncio.Event().wait()

def block():
    time.sleep(0.05)
    return 1

@app.entrypoint
async def agent(request):
    return request
"""
SYNC = AGENT.replace("async def agent(request):\n    return request", "def agent(request):\n    return block()")
STREAM = AGENT.replace("async def agent(request):\n    return request", "def agent(request):\n    return endless()")

METRICS = {"PPIO_AGENT_ENABLE_METRICS": "true"}
LOGS = {"PPIO_AGENT_ACCESS_LOG": "true", "PPIO_AGENT_LOG_FORMAT": "json"}
LIMITS = {"PPIO_AGENT_RATE_LIMIT": "900000000/60", "PPIO_AGENT_MAX_CONCURRENCY": "100000"}
OFF = {"PPIO_AGENT_ENABLE_METRICS": "false"}
VARIANTS = {
    "all off": OFF,
    "metrics (the default)": METRICS,
    "access log, JSON": OFF | LOGS,
    "rate limit, concurrency": OFF | LIMITS,
    "all on": METRICS | LOGS | LIMITS,
}

BODY = json.dumps({"prompt": "x" * 180}).encode()
REQUEST = b"POST /invocations HTTP/1.1\r\nHost: agent\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Load:
    """Keep-alive connections, each of which sends its next request when the last one is answered."""

    def __init__(self, port: int, connections: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._received: dict[socket.socket, bytes] = {}
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ, connection)
            self._received[connection] = b""

    def run(self, goes_on: Callable[[], bool]) -> int:
        """Return how many requests were answered."""
        for connection in self._received:
            connection.sendall(REQUEST)
        answered = 0
        waiting = len(self._received)
        while waiting:
            for key, _ in self._selector.select():
                asked: socket.socket = key.data
                if self._complete(asked):
                    answered += 1
                    if goes_on():
                        asked.sendall(REQUEST)
                    else:
                        waiting -= 1
        return answered

    def close(self) -> None:
        """Close the connections."""
        self._selector.close()
        for connection in self._received:
            connection.close()

    def _complete(self, connection: socket.socket) -> bool:
        data = self._received[connection] + connection.recv(65536)
        head, found, body = data.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        complete = bool(found) and length is not None and len(body) >= int(length[1])
        assert not complete or head.startswith(b"HTTP/1.1 200"), head
        self._received[connection] = b"" if complete else data
        return complete


def burst(target: Agent, load: Load, seconds: float) -> tuple[float, float]:
    """Return requests per second and CPU microseconds per request."""
    began, cpu = time.perf_counter(), cpu_seconds(target.pid)
    answered = load.run(lambda: time.perf_counter() - began < seconds)
    return answered / (time.perf_counter() - began), (cpu_seconds(target.pid) - cpu) * 1e6 / answered


def compare_variants(seconds: float, rounds: int) -> None:
    """Print what each variant costs against `all off`."""
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    costs: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with ExitStack() as stack:
        agents = {name: stack.enter_context(agent(AGENT, variables)) for name, variables in VARIANTS.items()}
        loads = {name: Load(target.port, 16) for name, target in agents.items()}
        for number in range(rounds + 1):
            for name, target in agents.items():
                rate, cost = burst(target, loads[name], seconds)
                if number:  # the first round warms up
                    rates[name].append(rate)
                    costs[name].append(cost)
        for load in loads.values():
            load.close()
    print(f"{'variant':26}{'requests/s':>11}{'ratio':>8}{'CPU us/request':>16}{'ratio':>8}")
    for name in VARIANTS:
        rate_ratio = statistics.median(a / b for a, b in zip(rates[name], rates["all off"], strict=True))
        cost_ratio = statistics.median(a / b for a, b in zip(costs[name], costs["all off"], strict=True))
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(f"{name:26}{rate:11.0f}{rate_ratio:8.2f}{cost:16.1f}{cost_ratio:8.2f}")


def ping_latency(port: int, count: int) -> list[float]:
    """Return the latencies of pings on one connection, in milliseconds, sorted."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    latencies = []
    for _ in range(count):
        began = time.perf_counter()
        connection.request("GET", "/ping")
        assert connection.getresponse().read()
        latencies.append((time.perf_counter() - began) * 1e3)
        time.sleep(0.002)
    connection.close()
    return sorted(latencies)


@contextmanager
def steady(port: int, connections: int) -> Iterator[None]:
    """Keep a load up from a thread."""
    stop = threading.Event()
    load = Load(port, connections)
    thread = threading.Thread(target=load.run, args=(lambda: not stop.is_set(),))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        load.close()


@contextmanager
def open_streams(port: int, connections: int) -> Iterator[None]:
    """Hold streams open whose first chunk has arrived."""
    streams = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for stream in streams:
        stream.sendall(REQUEST)
    for stream in streams:
        received = b""
        while b"data: " not in received:
            received += stream.recv(65536)
    yield
    for stream in streams:
        stream.close()


@contextmanager
def nothing(_port: int) -> Iterator[None]:
    """No load at all."""
    yield


def compare_pings(count: int) -> None:
    """Print how fast `/ping` answers under each load."""
    loads = {
        "idle": (AGENT, nothing),
        "64 blocking sync handlers": (SYNC, lambda port: steady(port, 64)),
        "64 idle streams": (STREAM, lambda port: open_streams(port, 64)),
        "busy async echo, 16 conn.": (AGENT, lambda port: steady(port, 16)),
    }
    print(f"\n{'load while /ping is asked':26}{'p50 ms':>8}{'p99 ms':>8}{'max ms':>8}")
    for name, (program, load) in loads.items():
        with agent(program, {"PPIO_AGENT_SHUTDOWN_GRACE_SECONDS": "1"}) as target, load(target.port):
            found = ping_latency(target.port, count)
        print(f"{name:26}{found[count // 2]:8.2f}{found[int(count * 0.99)]:8.2f}{found[-1]:8.2f}")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a burst")
    parser.add_argument("--rounds", type=int, default=5, help="bursts of each variant that count")
    parser.add_argument("--pings", type=int, default=500, help="pings under each load")
    options = parser.parse_args()
    compare_variants(options.seconds, options.rounds)
    compare_pings(options.pings)


if __name__ == "__main__":
    main()
