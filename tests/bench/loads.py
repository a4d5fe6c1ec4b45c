"""Bursts of load on a server, and what they showed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .servers import Server

PAYLOAD: Final = {"prompt": "x" * 120, "session": "s-0123456789", "user": "u-42", "meta": {"k": "v"}}
SMALL: Final = json.dumps(PAYLOAD).encode().ljust(200)
"""200 bytes."""
BIG_ANSWER: Final = json.dumps({"prompt": "x", "big": True}).encode()
BIGGER_ANSWER: Final = json.dumps({"prompt": "x", "bigger": True}).encode()
BIG_REQUEST: Final = json.dumps(
    {"prompt": "x", "messages": [{"id": i, "role": "user", "content": "lorem ipsum dolor " * 54} for i in range(990)]}
).encode()

NEW_SESSION: Final = "0000000000000"
"""Where a body has this, each request has another number."""
_WRK: Final = shutil.which("wrk")
_SCRIPT: Final = """
local file = io.open("{body}", "rb"); wrk.body = file:read("*a"); file:close()
wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"; {headers}
local sessions = wrk.body:find("{session}", 1, true) and os.time() * 1000
function request()
  if not sessions then return wrk.format() end
  sessions = sessions + 1
  return wrk.format(nil, nil, nil, (wrk.body:gsub("{session}", string.format("%0{digits}d", sessions))))
end
function done(s, l, r)
  local failed = s.errors.connect + s.errors.read + s.errors.write + s.errors.timeout + s.errors.status
  local p50, p99 = l:percentile(50), l:percentile(99)
  io.write(string.format("RESULT %d %d %d %d %d\\n", s.requests, s.duration, p50, p99, failed))
end
"""


@dataclass(frozen=True)
class Posts:
    """A burst of requests: their rate, processor time of the server and p99 latency of each, in microseconds."""

    rate: float
    cpu: float
    p99: float
    requests: int


@dataclass(frozen=True)
class Streams:
    """A burst of streams: chunks per second, and the median time to the first event in seconds."""

    rate: float
    first: float
    seconds: float


def posts(
    server: Server, connections: int, body: bytes = SMALL, seconds: int = 1, *, protocol: bool = False, **headers: str
) -> Posts:
    """Send POSTs over so many connections for so long.

    Raises:
        RuntimeError: Not every answer was a 2xx.
    """
    cpu = server.cpu_seconds()
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if protocol:
        fields["PPIO-Agent-Protocol"] = "1"
    generate = _wrk if _WRK else _python
    numbers = generate(server, connections, server.app.wrap(body), max(seconds, server.app.burst_seconds), fields)
    requests, micros, _, p99, errors = numbers
    if errors or not requests:
        raise RuntimeError(f"{server.app.name}: {errors} of {requests} requests failed")
    return Posts(requests / micros * 1e6, (server.cpu_seconds() - cpu) / requests * 1e6, p99, requests)


def streams(
    server: Server, count: int, chunks: int, *, pause: float = 0, repeat: int = 1, protocol: bool = False
) -> Streams:
    """Read `count` streams at once of `chunks` events each, `repeat` times."""
    body = server.app.wrap_stream(json.dumps({"prompt": "x", "count": chunks, "pause": pause}).encode())
    numbers = [server.port, count, repeat, int(protocol), server.app.stream_path or server.app.path]
    command = [sys.executable, str(_generator("streams.py")), *map(str, numbers)]
    printed = subprocess.run(command, input=body, capture_output=True, check=True, timeout=120).stdout.split()
    if int(printed[0]) < count * chunks * repeat:
        raise RuntimeError(f"{server.app.name}: only {int(printed[0])} events arrived")
    return Streams(int(printed[0]) / float(printed[1]), float(printed[2]), float(printed[1]))


def pings(port: int, seconds: float) -> list[float]:
    """Return the sorted latencies of `/ping`, in ms: every 20 ms, on new connections and a kept one in turn."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    address = ("127.0.0.1", port)
    with socket.create_connection(address, 30) as kept:
        while time.perf_counter() < end:
            began = time.perf_counter()
            if len(latencies) % 2:
                _ping(kept)
            else:
                with socket.create_connection(address, 30) as new:
                    _ping(new)
            latencies.append((time.perf_counter() - began) * 1000)
            time.sleep(0.02)
    return sorted(latencies)


def _ping(connection: socket.socket) -> None:
    connection.sendall(b"GET /ping HTTP/1.1\r\nHost: bench\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}"):  # head and body may come apart
        if not (part := connection.recv(4096)):
            raise RuntimeError("the server hung up on /ping")
        answer += part
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"/ping was answered with {answer[:40]!r}")


def _generator(name: str) -> Path:
    return Path(__file__).parent / "load" / name


def _python(server: Server, connections: int, body: bytes, seconds: int, headers: dict[str, str]) -> list[int]:
    fields = [f"{name}: {value}" for name, value in headers.items()]
    numbers = [server.port, connections, seconds, server.app.path]
    command = [sys.executable, str(_generator("posts.py")), *map(str, numbers), *fields]
    printed = subprocess.run(command, input=body, capture_output=True, check=True, timeout=seconds + 60).stdout
    return [int(word) for word in printed.split()]


def _wrk(server: Server, connections: int, body: bytes, seconds: int, headers: dict[str, str]) -> list[int]:
    assert _WRK
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        lines = " ".join(f'wrk.headers["{name}"] = "{value}";' for name, value in headers.items())
        script = Path(folder) / "post.lua"
        of_session = {"session": NEW_SESSION, "digits": len(NEW_SESSION)}
        script.write_text(_SCRIPT.format(body=f"{folder}/body", headers=lines, **of_session))
        url = f"http://127.0.0.1:{server.port}{server.app.path}"
        command = [_WRK, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    return [int(word) for word in printed.rpartition("RESULT ")[2].split()]
